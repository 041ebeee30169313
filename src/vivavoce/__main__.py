"""`python -m vivavoce` is `vivavoce`."""

if __name__ == "__main__":  # processes for inference import this module as well
    from vivavoce.cli import main

    main()
