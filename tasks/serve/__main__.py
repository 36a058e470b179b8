"""`python -m tasks.serve MODEL_DIR`: serve a directory of the quantize stage."""

import argparse
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from tasks.errors import StageError
from tasks.serve.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tasks.serve", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    for name, field in Settings.model_fields.items():
        if name != "api_key":  # a secret on the command line is seen by every user of the machine
            flag = {"action": "store_true"} if field.annotation is bool else {}
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, default=argparse.SUPPRESS, help=field.description, **flag)
    chosen = vars(parser.parse_args())
    model_dir = chosen.pop("model_dir")
    chosen["api_key"] = os.environ.get("FULLCHAIN_API_KEY")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    from tasks.serve.server import serve

    try:
        serve(model_dir, Settings(**chosen))
    except ValidationError as error:
        first = error.errors()[0]
        name = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""
        parser.error(f"{name}{first['msg']}")
    except StageError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
