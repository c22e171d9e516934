#!/usr/bin/env bash
# Prepares a data folder for measuring Egret as it runs in production, with another load generator than that of
# `cargo xtask bench peers`: client authentication, 1,000 rules, one injected credential, the journal on. Prints the proxy
# credentials (user:password) of a session that lasts a day.
#
#   bench/prepare.sh EGRET FOLDER ORIGIN_CA PORT
#
# Then: EGRET serve --config FOLDER/egret.yaml
set -euo pipefail
egret=$1 folder=$2 origin_ca=$3 port=$4
rm -rf "$folder"
mkdir -p "$folder"
cat > "$folder/egret.yaml" <<YAML
data_dir: ./data
listen:
  proxy: 127.0.0.1:$port
policies: [./bench.yaml]
upstream:
  ca_files: [$origin_ca]
YAML
{
  cat <<'YAML'
policy: bench
description: What the load generator may reach, among a thousand rules.
rules:
  - id: origin
    allow: {host: [origin.test, "*.origin.test"], port: 17443, methods: [GET, PUT]}
    addresses: [127.0.0.0/8]
    use: [bench]
YAML
  for n in $(seq 1 999); do
    echo "  - {id: rule-$n, allow: {host: host-$n.example.com, methods: [GET], path: /v1/**}}"
  done
} > "$folder/bench.yaml"
printf 'sk-bench-0123456789abcdef0123456789abcdef' \
  | "$egret" vault put bench --config "$folder/egret.yaml" --kind bearer --audience 'origin.test:17443' --audience '*.origin.test:17443' >&2
"$egret" session create --config "$folder/egret.yaml" --policy bench --credential bench --ttl 24h --format json > "$folder/session.json"
python3 - "$folder/session.json" <<'PY'
import json, sys, urllib.parse
url = urllib.parse.urlsplit(json.load(open(sys.argv[1]))["proxy_url"])
print(f"{url.username}:{url.password}")
PY
