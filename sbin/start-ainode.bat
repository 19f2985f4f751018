@echo off
@REM Runs start-ainode.sh inside WSL2, with the same arguments.
call "%~dp0ainode-wsl.bat" start-ainode.sh %*
exit /b %errorlevel%
