@echo off
@REM The same as sbin\remove-ainode.bat.
call "%~dp0..\remove-ainode.bat" %*
exit /b %errorlevel%
