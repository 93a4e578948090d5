"""README.txt of a hub's backup."""

README_TEXT = """\
A backup of a Drybag hub: what its owners' handsets hold, with every older version.
You can read all of it without Drybag.

The files
  owners/NAME/   one owner's records as files of their own; README.txt in it says how to read them
  log/LINE/      everything the hub wrote, in order: JSON lines, UTF-8. Each file begins with a
                 line about itself, which names the SHA-256 of the file before; then a row a line,
                 with its table. head.json names the last file
  hub.json       which hub, how far, and when a restore of this was compared with it
  SHA256SUMS     hashes of hub.json, README.txt and log/ for the usual tool

Is it whole?
  Run    sha256sum -c SHA256SUMS    here and in each folder of owners/. Every line must say OK.

What is secret in it
  Everybody's records. Passwords and the secrets of handsets are in it only as hashes, from which
  a long password or a secret cannot be found; a short password can. Keep it as you would keep
  the hub. The key of the hub's certificate authority is in it only if it was sealed with a
  passphrase (row ca_key_sealed of table meta: a Fernet token; its key is scrypt of the
  passphrase). Without it the handsets have to be paired with the restored hub again, by cable.

A row
  In a later line a row of the same table and key takes the earlier one's place; rows of versions
  are never replaced. versions: one version of a record, body as the handset sent it, blobs as the
  hex names of its photos, received_ms as Unix milliseconds. heads: which version counts.
"""
