"""`python -m jaxnets.native` compiles the kernels for this machine."""

from jaxnets.native.build import BuildError, build

try:
    print(build())
except BuildError as error:
    raise SystemExit(f"jaxnets.native: {error}") from None
