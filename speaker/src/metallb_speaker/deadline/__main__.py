"""`python -m metallb_speaker.deadline`: started by `client`, never by hand."""

from metallb_speaker.deadline import process

if __name__ == "__main__":
    process.main()
