@echo off
@REM Runs stop-ainode.sh inside WSL2, with the same arguments.
call "%~dp0ainode-wsl.bat" stop-ainode.sh %*
exit /b %errorlevel%
