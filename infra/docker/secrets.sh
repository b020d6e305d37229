#!/bin/sh
# Makes the passwords that docker-compose.yml reads, in secrets/ or in a folder of your choice:
#   infra/docker/secrets.sh [FOLDER]
# What exists is left as it is. The folder is closed to other users; its files are readable, since a
# container reads them as a user of its own.
set -eu

folder=${1:-$(dirname -- "$0")/../../secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { # a password that needs no quoting anywhere
    od -A n -t x1 -N 24 /dev/urandom | tr -d ' \n'
}

secret() { # $1: a file's name; standard input: its content, where there is none yet
    if [ -e "$1" ]; then
        cat >/dev/null
    else
        cat >"$1.part"
        mv "$1.part" "$1"
    fi
}

random | secret postgres_password
random | secret valkey_password
random | secret qdrant_api_key
random | secret s3_secret_key
random | secret grafana_password

echo "postgresql+psycopg://mmesid:$(cat postgres_password)@postgres:5432/mmesid" | secret database_url
echo "requirepass $(cat valkey_password)" | secret valkey.conf
echo "redis://:$(cat valkey_password)@valkey:6379/0" | secret redis_url
printf 'service:\n  api_key: "%s"\n' "$(cat qdrant_api_key)" | secret qdrant.yaml
printf '[default]\naws_access_key_id = mmesid\naws_secret_access_key = %s\nregion = us-east-1\n' \
    "$(cat s3_secret_key)" | secret s3_credentials
secret s3_identities.json <<END
{"identities": [{"name": "mmesid", "actions": ["Admin"],
  "credentials": [{"accessKey": "mmesid", "secretKey": "$(cat s3_secret_key)"}]}]}
END
