@echo off
@REM Runs remove-ainode.sh inside WSL2, with the same arguments.
call "%~dp0ainode-wsl.bat" remove-ainode.sh %*
exit /b %errorlevel%
