#!/bin/sh
# Removes the AINode from the cluster and stops it: remove-ainode.sh [ID] [-t ID|ADDRESS:PORT]

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
print_banner "$home" "Removing IoTDB AINode" "$@"
exec "$home/lib/ainode" remove "$@"
