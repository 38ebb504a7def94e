#!/usr/bin/env bash
# Builds deploy/Dockerfile without a registry, runs the image as it should be run, and says what held.
#
#     python tools/build_dist.py dist
#     sudo deploy/prove_image.sh runs/demo/mugs.int8.tflite photo.jpg [FOLDER]
#
# The base is made of Debian's packages. Needs root, mmdebstrap, buildah, podman, runc, curl and
# nsenter; FOLDER keeps the base and the images (400 MB and more) for the next time. The container
# has no network but its own loopback; it is asked from inside its network namespace.
set -euo pipefail
cd "$(dirname "$0")/.."
model=$(realpath "${1:?give an artifact}") photo=$(realpath "${2:?give a photo}")
work=$(realpath -m "${3:-/var/tmp/edgeclf-image}")
mkdir -p "$work/keys" "$work/models" "$work/plain"
compgen -G "dist/edgeclf_server-*.whl" >/dev/null || { echo "dist/ has no wheels: run tools/build_dist.py dist"; exit 1; }

storage=(--root "$work/storage" --runroot "$work/run")
build=(buildah "${storage[@]}" build --quiet --format docker --isolation chroot --pull-never
       --volume /etc/ssl/certs:/etc/ssl/certs:ro) # pip's, as the base has none
# Its errors say that systemd is not there to repeat the health check; what ends it is still said.
podman=(podman "${storage[@]}" --log-level fatal --runtime runc --cgroup-manager cgroupfs)
base=localhost/edgeclf-base image=localhost/edgeclf plain=localhost/plain-fastapi name=edgeclf-proof

held() { echo "held: $*"; }
failed() { echo "FAILED: $*"; exit 1; }

echo "with $(podman --version), $(buildah --version | cut -d' ' -f1-3), $(runc --version | head -1)"
if [ ! -s "$work/base.tar" ]; then
    mmdebstrap --quiet --variant=apt --include=python3,python-is-python3,python3-pip \
        bookworm "$work/base.tar" http://deb.debian.org/debian
fi
"${podman[@]}" image exists $base || "${podman[@]}" import --quiet "$work/base.tar" $base >/dev/null
"${build[@]}" --build-arg BASE=$base --file deploy/Dockerfile --tag $image . >/dev/null
held "the image is built"

# What people write: the same engine and pictures behind FastAPI, on the same base.
cat >"$work/plain/Dockerfile" <<EOF
FROM $base
RUN python -m pip install --no-cache-dir --break-system-packages \
    --root-user-action ignore fastapi uvicorn python-multipart ai-edge-litert pillow
EOF
"${podman[@]}" image exists $plain || "${build[@]}" --tag $plain "$work/plain" >/dev/null

cp "$model" "$work/models/"
rm -f "$work/keys/keys.txt"
chown 10001:10001 "$work/keys"
chmod a+rX "$work" "$work/models" "$work/models/"*
# crun cannot set limits in a nested container, runc can; the service asks for 1,408 files.
run=("${podman[@]}" run --network none --read-only --tmpfs /tmp --cap-drop all
     --security-opt no-new-privileges --ulimit nofile=2048:2048 --ulimit nproc=1024:1024)
key=$("${run[@]}" --rm --volume "$work/keys:/keys" $image serve --new-key proof --keys /keys/keys.txt 2>/dev/null)
held "a key is made by the image itself"

"${podman[@]}" rm --force --ignore $name >/dev/null
trap '"${podman[@]}" rm --force --ignore $name >/dev/null 2>&1' EXIT
started=$(date +%s.%N)
"${run[@]}" --detach --name $name --volume "$work/models:/models:ro" \
    --volume "$work/keys/keys.txt:/run/secrets/edgeclf_keys:ro" $image >/dev/null
inside=("${podman[@]}" exec $name)
for _ in $(seq 120); do
    "${inside[@]}" python -m edgeclf serve --probe 2>/dev/null && ready=$(date +%s.%N) && break
    sleep 0.5
done
[ -n "${ready:-}" ] || { "${podman[@]}" logs $name; failed "the health check does not become 0"; }
held "the health check is 0, $(echo "$ready - $started" | bc) s after the start"

pid=$("${podman[@]}" inspect --format '{{.State.Pid}}' $name)
ask=(nsenter --net="/proc/$pid/ns/net" curl --silent --max-time 20 --data-binary "@$photo")
status=$("${ask[@]}" --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8080/classify)
[ "$status" = 401 ] && held "without a key: 401" || failed "without a key: $status"
answer=$("${ask[@]}" --header "Authorization: Bearer $key" http://127.0.0.1:8080/classify)
sha256=$(sha256sum "$model" | cut -d' ' -f1)
[[ $answer == *"$sha256"* ]] && held "the answer names the file: $answer" || failed "the answer: $answer"

"${inside[@]}" python -m edgeclf verify "/models/$(basename "$model")" | tail -1 | sed 's/^/held: verify in it: /'

written=$("${inside[@]}" python -c "open('/opt/edgeclf/written', 'w')" 2>&1 | tail -1) || true
[[ $written == *"[Errno 30]"* ]] && held "writing to the root: $written" || failed "root: $written"
"${inside[@]}" python -c "open('/tmp/written', 'w')" && held "/tmp can be written to"
privileges=$(grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs):' "/proc/$pid/status" | tr -s '\t\n' '  ')
[[ $privileges == *"Uid: 10001 10001 10001 10001"*"CapEff: 0000000000000000"*"CapBnd: 0000000000000000"*"NoNewPrivs: 1"* ]] \
    && held "$privileges" || failed "$privileges"
! "${inside[@]}" sh -c true 2>/dev/null && held "there is no shell in it" || failed "it has a shell"
echo "memory: $(grep -E '^(VmHWM|VmRSS):' "/proc/$pid/status" | tr -s '\t\n' '  ')"

stopped=$(date +%s.%N)
"${podman[@]}" kill --signal TERM $name >/dev/null
code=$("${podman[@]}" wait $name)
[ "$code" = 0 ] && held "SIGTERM: exit 0 after $(echo "$(date +%s.%N) - $stopped" | bc) s, of which it drained 5" \
    || failed "SIGTERM: exit $code"

size() { "${podman[@]}" image inspect --format '{{.Size}}' "$1"; }
echo "sizes in bytes: base $(size $base), edgeclf $(size $image), plain FastAPI $(size $plain)"
share=$(echo "scale=3; $(size $image) / $(size $plain)" | bc)
[ "$(echo "$share <= 0.7" | bc)" = 1 ] && held "that is 0$share of the plain one (limit 0.7)" \
    || failed "that is $share of the plain one (limit 0.7)"
