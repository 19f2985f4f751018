#!/bin/sh
# Stops the AINode of this installation, or the one that listens at an address: stop-ainode.sh [-t ADDRESS:PORT]

# Where this file really lies: links are followed, and the path may hold spaces.
self=$0
while [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target:$self in
  /*) self=$target ;;
  *:*/*) self=${self%/*}/$target ;;
  *) self=$target ;;
  esac
done
case $self in
*/*) folder=${self%/*} ;;
*) folder=. ;;
esac
home=$(CDPATH='' cd -P -- "$folder/.." && pwd) || exit 1

# shellcheck source=sbin/ainode-common.sh
. "$home/sbin/ainode-common.sh"
check_system "$home"
print_banner "$home" "Stopping IoTDB AINode" "$@"
exec "$home/lib/ainode" stop "$@"
