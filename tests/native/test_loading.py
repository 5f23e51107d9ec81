"""Loading the kernels: damaged files, programs of other processes, forks."""

import os
import sys

import jax
import numpy as np
import pytest
from jax import export

from jaxnets import native
from jaxnets.functional import conv
from tests import oracles
from tests.native.processes import run

pytestmark = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)
elf = pytest.mark.skipif(sys.platform != "linux", reason="macOS checks signatures")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@elf
def test_damaged_libraries_are_not_opened(tmp_path):
    """Opening a truncated library ends the process with SIGBUS."""
    code = """
        import pathlib, sys
        import numpy as np
        from jaxnets import native
        whole = native.LIBRARY.read_bytes()
        native.LIBRARY = pathlib.Path(sys.argv[1])
        rng = np.random.default_rng(0)
        cuts = {0, 1, 64, 4096, len(whole) // 2, len(whole) - 80, len(whole) - 1}
        for cut in sorted(cuts):
            native.LIBRARY.write_bytes(whole[:cut])
            print(native.missing.__wrapped__())
        for place in rng.integers(0, len(whole), 20):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.integers(8)
            native.LIBRARY.write_bytes(damaged)
            print(native.missing.__wrapped__())
        native.LIBRARY.write_bytes(whole + b"tail")
        print(native.missing.__wrapped__())
        """
    lines = run(code, str(tmp_path / "library.so")).splitlines()
    assert len(lines) == 28
    for line in lines:
        assert "could not load its kernels (library.so does not" in line
        assert "SHA-256" in line
        assert "python -m jaxnets.native makes them anew" in line


def test_importing_starts_no_backend():
    """Programs choose their platform after importing jaxnets."""
    code = """
        import jaxnets, jax
        jax.config.update("jax_platforms", "nowhere")
        try:
            jax.devices()
        except RuntimeError as error:
            print("nowhere" in str(error))
        """
    assert run(code) == "True"


def by_kernels(x, kernel):
    return conv(x, kernel, algorithm="native")


@pytest.fixture
def problem(rng, tmp_path):
    """A file with two arrays, and the value that their convolution has."""
    x = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    y = oracles.conv(x, kernel, padding="SAME")
    np.savez(tmp_path / "arrays.npz", x=x, kernel=kernel, y=y)
    return x, kernel, tmp_path


RUN = """
    arrays = np.load(sys.argv[2])
    y = program(arrays["x"], arrays["kernel"])
    np.testing.assert_allclose(y, arrays["y"], rtol=1e-4, atol=1e-4)
    print("equal")
    """


@pytest.mark.parametrize(
    "register",
    ["import jaxnets.functional", "from jaxnets import native; native.register()"],
)
def test_a_program_that_another_process_compiled(problem, register):
    from jax.experimental import serialize_executable

    x, kernel, folder = problem
    compiled = jax.jit(by_kernels).trace(x, kernel).lower().compile()
    (folder / "program").write_bytes(serialize_executable.serialize(compiled)[0])
    code = f"""
    import pathlib, sys
    import jax, numpy as np
    from jax.experimental import serialize_executable
    {register}
    content = pathlib.Path(sys.argv[1]).read_bytes()
    trees = jax.tree.structure(((0, 0), {{}})), jax.tree.structure(0)
    program = serialize_executable.deserialize_and_load(
        content, *trees, execution_devices=jax.devices()[:1]
    )
    {RUN}"""
    files = str(folder / "program"), str(folder / "arrays.npz")
    assert run(code, *files) == "equal"


def test_a_program_that_another_process_exported(problem):
    pytest.importorskip("flatbuffers", reason="JAX writes exports by flatbuffers")
    x, kernel, folder = problem
    known = [export.DisabledSafetyCheck.custom_call("jaxnets_conv_forward")]
    exported = export.export(jax.jit(by_kernels), disabled_checks=known)(x, kernel)
    (folder / "program").write_bytes(exported.serialize())
    code = f"""
    import pathlib, sys
    import jax, numpy as np
    from jax import export
    import jaxnets.functional
    program = export.deserialize(bytearray(pathlib.Path(sys.argv[1]).read_bytes())).call
    {RUN}"""
    files = str(folder / "program"), str(folder / "arrays.npz")
    assert run(code, *files) == "equal"


FORK = """
    import os, sys, warnings
    import jax, numpy as np
    from jaxnets import functional as F
    from tests import oracles
    warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns at every fork

    x = np.arange(2 * 5 * 6 * 3, dtype=np.float32).reshape(2, 5, 6, 3) % 7
    kernel = np.arange(3 * 3 * 3 * 4, dtype=np.float32).reshape(3, 3, 3, 4) % 5
    convolve = jax.jit(lambda x, k: F.conv(x, k, algorithm="native"))
    arrays = jax.device_put((x, kernel)) if sys.argv[1] == "compiled" else (x, kernel)

    def in_child(function):
        # Print what `function` prints in a forked process; stop it if it hangs.
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            import signal
            signal.alarm(60)
            try:
                function()
            except Exception as error:
                print(type(error).__name__, error)
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the child hung"
    """


@forks
@pytest.mark.parametrize("what", ["compiled", "traced"])
def test_the_kernels_refuse_to_run_in_a_fork(what):
    """A program of the parent meets the flag in C++, a new one that in Python."""
    code = f"""{FORK}
    convolve(*arrays).block_until_ready()
    new = jax.jit(lambda x, k: F.conv(x, k, algorithm="native", padding="VALID"))
    again = convolve if sys.argv[1] == "compiled" else new
    in_child(lambda: again(*arrays).block_until_ready())
    in_child(lambda: in_child(lambda: again(*arrays).block_until_ready()))
    np.testing.assert_allclose(
        convolve(*arrays), oracles.conv(x, kernel, padding="SAME")
    )
    print("the parent goes on")
    """
    *children, parent = run(code, what).splitlines()
    assert parent == "the parent goes on"
    assert len(children) == 2
    for line in children:
        assert "this process was forked after the kernels had run" in line
        assert "multiprocessing's 'spawn' or 'forkserver'" in line


@forks
def test_the_kernels_run_in_a_fork_that_came_before():
    """Nothing of JAX ran before the fork, so that the child starts its own."""
    code = f"""{FORK}
    def check():
        np.testing.assert_allclose(
            convolve(x, kernel), oracles.conv(x, kernel, padding="SAME")
        )
        print("equal")
    in_child(check)
    """
    assert run(code, "traced") == "equal"


def test_registering_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(native, "missing", lambda: "needs compiled kernels: ...")
    with pytest.raises(RuntimeError, match=r"jaxnets\.native needs compiled kernels"):
        native.register()
