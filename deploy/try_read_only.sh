#!/bin/sh
# Runs the server as tensormask-server.service does, without systemd: as an ordinary user without rights, on a file
# system that is read-only except for its state, its logs and its temporary files. It posts an image, and lists the
# files that the server has written. Run it as root, where mounts can be made:
#   deploy/try_read_only.sh model_store/demo.mar demo/images/composed.jpg
set -eu
archive=$(realpath "$1")
image=$(realpath "$2")
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
base=$("$here/.venv/bin/python" -P -c 'import sys; print(sys.base_prefix)')
export archive image here base

# shellcheck disable=SC2016  # the new namespace's shell expands it
exec unshare --mount --pid --fork --kill-child --mount-proc sh -eu -c '
    mount -t tmpfs tmpfs /mnt
    mkdir -m 700 /mnt/state /mnt/logs /mnt/tmp
    case $base in /root/*)  # a Python of root alone would be out of reach
        mkdir /mnt/base
        mount --bind "$base" /mnt/base
        mount -t tmpfs -o mode=755 tmpfs /root
        mkdir -p "$base"
        mount --bind /mnt/base "$base"
    esac
    chown 65534:65534 /mnt/state /mnt/logs /mnt/tmp
    mount -o remount,ro /mnt  # only what is mounted anew below can be written to
    for folder in state logs tmp; do
        mount -t tmpfs -o uid=65534,gid=65534,mode=700 tmpfs /mnt/$folder
    done
    for place in $(findmnt -rno TARGET | grep -Ev "^/(proc|sys|dev|mnt)(/|$)"); do
        mount -o remount,bind,ro "$place"
    done
    exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        env -i PATH="$PATH" HOME=/nonexistent TMPDIR=/mnt/tmp STATE_DIRECTORY=/mnt/state PYTHONDONTWRITEBYTECODE=1 \
        archive="$archive" image="$image" here="$here" sh -eu -c "
            cd /mnt/state
            id
            for place in / /tmp /var/tmp /etc \$here \$here/.venv \$(dirname \$archive); do
                if touch \$place/written 2> /mnt/tmp/reason; then echo \"\$place can be written to\"; exit 1; fi
            done
            echo \"read-only: \$(cat /mnt/tmp/reason)\"
            \$here/.venv/bin/tensormask-server --archive \$archive --logs /mnt/logs \
                -p 28080 --management-port 28081 --metrics-port 28082 > /mnt/tmp/printed 2>&1 &
            server=\$!
            until grep -s '^READY' /mnt/tmp/printed; do
                kill -0 \$server || { cat /mnt/tmp/printed; exit 1; }
                sleep 0.5
            done
            name=\$(basename \$archive .mar)
            curl -sS -f -T \$image http://127.0.0.1:28080/predictions/\$name | head -c 300
            echo
            find /mnt/state /mnt/logs /mnt/tmp -maxdepth 2 -type f | sed \"s,^,written: ,\"
            kill \$server
            wait \$server
        "
'
