"""`python -m jaxnets.native` compiles the kernels for this machine."""

import argparse
import os

from jaxnets.native.build import BuildError, ToolsMissingError, build

parser = argparse.ArgumentParser("python -m jaxnets.native", description=__doc__)
parser.add_argument(
    "--if-possible",
    action="store_true",
    help="succeed where nothing can compile them, and where JAXNETS_NATIVE=0",
)
optional = parser.parse_args().if_possible

if optional and os.environ.get("JAXNETS_NATIVE") == "0":
    raise SystemExit
try:
    print(build())
except BuildError as error:
    message = f"jaxnets.native: {error}"
    if not (optional and isinstance(error, ToolsMissingError)):
        raise SystemExit(message) from None
    print(f"{message}\nConvolution on CPU works without them, by slower algorithms.")
