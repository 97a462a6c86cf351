"""`python -m metallb_controller`."""

from metallb_controller import main

if __name__ == "__main__":
    raise SystemExit(main.main())
