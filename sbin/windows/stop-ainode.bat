@echo off
@REM The same as sbin\stop-ainode.bat.
call "%~dp0..\stop-ainode.bat" %*
exit /b %errorlevel%
