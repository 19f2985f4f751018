@echo off
@REM The same as sbin\start-ainode.bat.
call "%~dp0..\start-ainode.bat" %*
exit /b %errorlevel%
