@REM The Python environment of AINode, for sbin\start-ainode.bat. AINode runs inside WSL2, so the paths here are
@REM those of the Linux distribution there. What is set here wins over conf/ainode-env.sh.

@REM Python interpreter that runs models, for example /usr/bin/python3. It is used as it is and never modified.
@REM When it is not set: the venv folder of the installation; where there is none, a Python of that distribution that has
@REM NumPy and PyTorch; only else that folder is made.
@REM set ain_interpreter_dir=

@REM 1: every start makes the installation's venv anew.
@REM set ain_force_reinstall=0

@REM 1: install without a network, from the wheels in the folder `wheelhouse` of the installation.
@REM set ain_install_offline=0
