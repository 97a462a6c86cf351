"""`python -m metallb_speaker`."""

from metallb_speaker import main

if __name__ == "__main__":
    raise SystemExit(main.main())
