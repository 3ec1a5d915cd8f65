"""Fine-tune Real-ESRGAN: `accelerate launch archsr/train.py --config configs/last_layer.toml`."""

import os
import sys
from pathlib import Path

# run as a file, Python puts archsr/ itself first on the path, where its modules could hide others of their names
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from archsr.cli.arguments import Parser, add_training, parsed
from archsr.config import TrainConfig, config_file
from archsr.errors import ElsewhereError, UserError, print_error
from archsr.utils.allocation import reuse_large_blocks
from archsr.utils.stopping import StopRequest, final_code, record_final_code, stoppable


def main() -> int:
    """Parse, train; exit code 2 with one line for what the user can mend, 85 for a run that stopped as asked."""
    if (code := final_code()) is not None:
        return code
    reuse_large_blocks()
    os.environ["MPLBACKEND"] = "agg"  # started from a notebook, its kernel's would have to be installed here, too
    try:
        args = parsed(parser(), sys.argv[1:])
        config = config_file.load(TrainConfig, args.config, overrides=args.set)
        if not args.dry_run and not args.debug:
            return stoppable(lambda stop_request: _train(config, stop_request, resume=args.resume))
        from archsr.training import debug, launch  # late: --help and config errors need no torch

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
        print("archsr: stopped; --resume goes on from the last checkpoint, if one was written", file=sys.stderr)
        return 130
    return 0


def _train(config: TrainConfig, stop_request: StopRequest, *, resume: bool) -> None:
    from archsr.training import launch

    launch.run(config, resume=resume, stop_request=stop_request)


def parser() -> Parser:
    """The flags of a training."""
    launch = "accelerate launch archsr/train.py --config configs/tail.toml"
    made = Parser(description=__doc__, examples=[launch, f"{launch} --resume --set training.micro_batch=4"])
    add_training(made)
    return made


if __name__ == "__main__":
    sys.exit(main())
