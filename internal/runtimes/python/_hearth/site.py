"""What the standard site module does for a Lambda function, without its search of the disk."""
import builtins
import os
import sys

packages = []  # Written at installation: the interpreter's folders of packages,
prefix = None  # and its virtual environment.


def setup():
    sys.path.extend(p for p in packages if p not in sys.path)
    # What AWS's runtime brings, too; a function's own comes first.
    sys.path.append(os.path.join(os.path.dirname(os.path.dirname(__file__)), "lib"))
    if prefix:
        sys.prefix = sys.exec_prefix = prefix
    import _sitebuiltins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    if os.environ.get("PYTHONPATH"):
        # How layers instrument functions: a wrapper puts a folder there that has one.
        try:
            import sitecustomize  # noqa: F401
        except ImportError as e:
            if e.name != "sitecustomize":
                raise
