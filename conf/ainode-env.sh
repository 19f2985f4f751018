#!/bin/sh
# The Python environment of AINode. These lines are read as settings, never run: write plain values. A variable
# of the same name in the environment wins over this file, and options of start-ainode.sh win over both.

# Python interpreter that runs models: a path to the program, or to the folder of an environment; spaces need no
# quotes. It is used as it is and never modified; what it lacks is installed by: lib/ainode env install -i PYTHON
# When it is not set: the venv folder of the installation; where there is none, a Python of this machine that has NumPy and
# PyTorch; only else that folder is made.
# ain_interpreter_dir=

# 1: every start makes the installation's venv anew (in one that you made yourself, packages are installed again).
ain_force_reinstall=0

# 1: install without a network, from the wheels in the folder `wheelhouse` of the installation, or from wheelhouse.tar
# there, which lib/venv-bootstrap/make-wheelhouse.sh makes on a connected machine.
ain_install_offline=0

# Package index for torch alone, e.g. one with builds for the CPU only, which are much smaller: https://...
# ain_torch_index=
