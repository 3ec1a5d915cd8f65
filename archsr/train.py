"""Fine-tune Real-ESRGAN: `accelerate launch archsr/train.py --config configs/last_layer.toml`."""

import os
import sys
from pathlib import Path

# Python puts the script's folder archsr/ first on the path, where its modules could hide others of the same name
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from archsr.cli.arguments import Parser, add_training, announce, parsed
from archsr.config import TrainConfig, config_file
from archsr.errors import ElsewhereError, UserError, print_error
from archsr.utils.allocation import let_segments_grow, reuse_large_blocks
from archsr.utils.stopping import StopRequest, final_code, leave, record_final_code, stoppable


def main() -> int:
    """Parse the arguments and train. Exit code 2 for a user's error (one line), 85 for a graceful stop."""
    if (code := final_code()) is not None:
        return code
    reuse_large_blocks()
    let_segments_grow()
    os.environ["MPLBACKEND"] = "agg"  # a notebook's backend would have to be installed here as well
    try:
        args = parsed(parser(), sys.argv[1:])
        config = config_file.load(TrainConfig, args.config, overrides=args.set)
        announce(f"opening data and networks of {args.config}")
        if not args.dry_run and not args.debug:
            return stoppable(lambda stop_request: _train(config, stop_request, resume=args.resume))
        from archsr.training import debug, launch  # imported late: --help and config errors need no torch

        if args.dry_run:
            return 0 if launch.dry_run(config, resume=args.resume) else 2
        debug.debug(config)
    except ElsewhereError:
        return 2
    except UserError as error:
        print_error(error)
        record_final_code(2)
        return 2
    except KeyboardInterrupt:
        print("archsr: stopped; --resume continues from the last checkpoint, if there is one", file=sys.stderr)
        return 130
    return 0


def _train(config: TrainConfig, stop_request: StopRequest, *, resume: bool) -> None:
    from archsr.training import launch

    launch.run(config, resume=resume, stop_request=stop_request)


def parser() -> Parser:
    """Return the parser for the flags of training."""
    launch = "accelerate launch archsr/train.py --config configs/tail.toml"
    made = Parser(description=__doc__, examples=[launch, f"{launch} --resume --set training.micro_batch=4"])
    add_training(made)
    return made


if __name__ == "__main__":
    leave(main())
