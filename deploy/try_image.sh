#!/bin/sh
# Tries on a bare Debian what docs/DEPLOYMENT.md promises about containers, and make demo and make test:
#   deploy/try_image.sh image    builds deploy/Dockerfile with the demo's model, runs it as Kubernetes would (an
#                                ordinary user without rights, a read-only root, no network but loopback), waits for
#                                its HEALTHCHECK, posts images, and stops it during requests
#   deploy/try_image.sh demo     installs python3, python3-venv, make and curl, and runs make demo
#   deploy/try_image.sh test     the same with make test: a quarter of an hour and more
# As root, after apt-get install --no-install-recommends debootstrap podman runc. No registry of images is needed: the
# base image is what debootstrap makes of the release that the Dockerfile names. pip's and apt's settings are this
# machine's. All its files are in one folder under /var/tmp, and are deleted at the end.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
base=$(sed -n 's/^FROM \(debian:[^ ]*\).*/\1/p' "$here/deploy/Dockerfile" | sort -u)
suite=${base#debian:}
suite=${suite%-slim}
place=$(mktemp -d /var/tmp/try-image.XXXXXX)

clean_up() {
    podman rm --all --force --time 0 > /dev/null 2>&1 || true
    findmnt -rno TARGET | grep "^$place/" | sort -r | while read -r mount; do umount "$mount"; done
    rm -rf --one-file-system "$place"
}
# storage of its own, and limits that an ordinary user may set
export CONTAINERS_STORAGE_CONF="$place/storage.conf" CONTAINERS_CONF="$place/containers.conf"
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
cat > "$CONTAINERS_STORAGE_CONF" << END
[storage]
driver = "overlay"
graphroot = "$place/images"
runroot = "$place/run"
END
cat > "$CONTAINERS_CONF" << END
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
END

# pip's settings, the environment's before the files', and below /settings the files and folders that they name
python3 -P -m pip config list |
    sed -nE "s/^(:env:|global|install)\.([a-z-]+)='(.*)'$/\2 = \3/p" | awk '!known[$1]++' > "$place/pip.settings"
{ echo "[global]"; cat "$place/pip.settings"; } > "$place/pip.conf"
volumes="--volume $place/pip.conf:/etc/pip.conf:ro"
for named in $(sed 's/^[^=]*= //' "$place/pip.settings"); do
    file=${named#file://}
    case $named in file://*) mounted=$(dirname "$file") ;; *) mounted=$file ;; esac  # an index names files beside it
    if [ "${file#/}" != "$file" ] && [ -e "$file" ]; then
        volumes="$volumes --volume $mounted:/settings$mounted:ro"
        sed -i -E "s,(^|[ /])$file( |$),\\1/settings$file\\2,g" "$place/pip.conf"
    fi
done

make_base() {
    debootstrap --variant=minbase "$suite" "$place/debian" > "$place/debootstrap.log" ||
        { tail "$place/debootstrap.log"; exit 1; }
    if grep -qx "VERSION_CODENAME=$suite" /etc/os-release; then
        rm "$place/debian/etc/apt/sources.list"
        for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
            if [ -e "$list" ]; then cp "$list" "$place/debian$list"; fi
        done
    fi
    for settings in $(grep -l '^Acquire' /etc/apt/apt.conf.d/* 2> /dev/null); do
        cp "$settings" "$place/debian$settings"
    done
    tar -C "$place/debian" -c . | podman import --quiet - "docker.io/library/$base" > /dev/null
    rm -rf --one-file-system "$place/debian"
}

try_image() {
    archive=model_store/demo.mar
    "$here/archive.sh" --name demo --config "$here/demo/model/config.yaml" --weights "$here/demo/model/weights.pkl" \
        --classes "$here/demo/model/classes.txt" --output "$here/model_store"
    # shellcheck disable=SC2086  # volumes are several words
    podman build --pull-never --format docker --isolation chroot --network host $volumes \
        --build-arg TORCH_INDEX= --build-arg ARCHIVE=$archive -f "$here/deploy/Dockerfile" -t tensormask-server "$here"
    podman images tensormask-server
    podman run --detach --name server --read-only --read-only-tmpfs=false --tmpfs /tmp --cap-drop ALL \
        --security-opt no-new-privileges --network none --stop-timeout 60 \
        --volume "$here/demo/images:/images:ro" tensormask-server > /dev/null
    until podman healthcheck run server > /dev/null; do
        [ "$(podman inspect --format '{{.State.Running}}' server)" = true ] || { podman logs server; exit 1; }
        sleep 1
    done
    podman exec server python -P -m tensormask_server.health
    podman exec server sh -c '
        id
        grep -E "^(CapBnd|NoNewPrivs|Seccomp):" /proc/self/status
        for folder in / /etc /opt/tensormask-server /models /var/tmp; do
            if touch $folder/written 2> /dev/null; then echo "$folder can be written to"; exit 1; fi
        done
        if command -v gcc cc g++ ld; then echo "there is a compiler"; exit 1; fi'
    url=http://127.0.0.1:8080/predictions/tensormask
    podman exec server python -P -m tensormask_server.client /images/composed.jpg --url $url --out /tmp/responses
    podman exec server sh -c 'ls -l /tmp/responses; head -c 300 /tmp/responses/*; echo'
    # half of an image is sent, the server is stopped, and the other half is sent: it is answered
    podman exec server python -P -c "
import http.client, pathlib, time
image = pathlib.Path('/images/page.png').read_bytes()
connection = http.client.HTTPConnection('127.0.0.1', 8080)
connection.putrequest('POST', '/predictions/tensormask')
connection.putheader('Content-Length', str(len(image)))
connection.endheaders(image[:1000])
pathlib.Path('/tmp/half-sent').touch()
time.sleep(5)
connection.send(image[1000:])
print('sent before SIGTERM, response after it:', connection.getresponse().status)" > "$place/answered" &
    asking=$!
    until podman exec server test -e /tmp/half-sent; do sleep 0.2; done
    podman stop server > /dev/null
    wait $asking
    podman logs server | tee "$place/printed"
    grep -q 'stopping when 1 requests' "$place/printed"
    cat "$place/answered"
    grep -q ' 200$' "$place/answered"
    [ "$(podman inspect --format '{{.State.ExitCode}}' server)" = 0 ]
    echo "the image works"
}

# the README's commands, on a Debian with only the packages that it names
try_make() {
    # shellcheck disable=SC2086  # volumes are several words
    podman run --rm --network host $volumes --volume "$here:/here:ro" --env TARGET="$1" "docker.io/library/$base" sh -euc '
        apt-get update -qq
        apt-get install -qq --yes --no-install-recommends python3 python3-venv make curl > /dev/null
        mkdir /project
        cd /here
        tar -c --exclude=./.venv --exclude=./.git --exclude=./model_store/*.mar . | tar -x -C /project
        cd /project
        make "$TARGET"'
    echo "make $1 works"
}

case "${1:-}" in
    image) make_base; try_image ;;
    demo | test) make_base; try_make "$1" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
