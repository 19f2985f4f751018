@echo off
@REM Runs a script of this folder inside WSL2: ainode-wsl.bat SCRIPT ARGUMENTS...
setlocal
set "script=%~1"
if not exist "%~dp0%script%" (
  echo %~dp0%script% is missing: unpack the whole apache-iotdb-*-ainode-bin.zip again.
  exit /b 1
)
where wsl.exe >nul 2>nul
if errorlevel 1 (
  echo AINode runs on Linux, and this Windows has no WSL: open a terminal as administrator, run "wsl --install", restart Windows and try again.
  exit /b 1
)
wsl.exe --exec /bin/true >nul 2>nul
if errorlevel 1 (
  echo AINode runs on Linux, and WSL has no distribution that starts: run "wsl --install -d Debian", open it once and try again.
  exit /b 1
)
wsl.exe --exec /bin/sh -c "case $(uname -r) in [6-9].*|[1-9][0-9].*|5.[1-9][0-9]*) exit 0;; esac; exit 1" >nul 2>nul
if errorlevel 1 (
  echo AINode needs WSL version 2 with Linux 5.10 or newer: run "wsl --update", then "wsl --set-version DISTRIBUTION 2", and try again.
  exit /b 1
)

if exist "%~dp0..\conf\windows\ainode-env.bat" call "%~dp0..\conf\windows\ainode-env.bat"
set "WSLENV=%WSLENV%:ain_interpreter_dir/u:ain_force_reinstall/u:ain_install_offline/u"

@REM Everything behind the name of the script is handed on as it was written.
set "rest=%*"
call set "rest=%%rest:*%script%=%%"
pushd "%~dp0"
wsl.exe --exec /bin/sh "./%script%" %rest%
set "code=%errorlevel%"
popd
exit /b %code%
