#!/bin/sh
# `backup.sh database` dumps PostgreSQL, `backup.sh artifacts` copies bundles and item images. Both
# may be repeated at any time, and what was cut off leaves nothing that looks complete.
#
# POSTGRES_URL: as libpq reads it. ARTIFACTS, BACKUPS: folders. KEEP_DAYS: how long dumps are kept.
set -eu

database() {
    mkdir -p "$BACKUPS/postgres"
    dump="$BACKUPS/postgres/$(date -u +%Y%m%dT%H%M%SZ).dump"
    pg_dump --format=custom --no-owner --dbname="$POSTGRES_URL" --file="$dump.part"
    mv "$dump.part" "$dump"
    find "$BACKUPS/postgres" -type f -mtime +"$KEEP_DAYS" -delete
    echo "dumped the database to $dump"
}

# A bundle never changes once its manifest is there, nor does an image: each is copied once. Nothing
# is removed, since an older dump may name it.
artifacts() {
    for manifest in "$ARTIFACTS"/*/bundles/*/manifest.json; do
        bundle=$(dirname "$manifest")
        copy="$BACKUPS/artifacts/${bundle#"$ARTIFACTS"/}"
        if [ ! -f "$manifest" ] || [ -d "$copy" ]; then
            continue
        fi
        rm -rf "$copy.part"
        mkdir -p "$copy.part"
        cp -R "$bundle/." "$copy.part"
        mv "$copy.part" "$copy"
        echo "copied bundle $copy"
    done
    for images in "$ARTIFACTS"/*/images; do
        if [ -d "$images" ]; then
            copy="$BACKUPS/artifacts/${images#"$ARTIFACTS"/}"
            (cd "$images" && find . -type f ! -name '*.part') | while read -r image; do
                if [ ! -e "$copy/$image" ]; then
                    mkdir -p "$(dirname "$copy/$image")"
                    cp "$images/$image" "$copy/$image.part"
                    mv "$copy/$image.part" "$copy/$image"
                fi
            done
        fi
    done
}

"$1"
