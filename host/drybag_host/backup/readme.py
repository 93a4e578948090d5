"""README.txt of a backup: how to read it without Drybag. The example in it is run by a test."""

README_TEXT = """\
A backup of a Drybag handset: contacts, calendar, to-dos, notes and photos.
You can read all of it without Drybag.

The files
  records.jsonl     what was on the handset: one record a line, each line a JSON object, UTF-8
  tombstones.jsonl  what was deleted there: who and when, one line each
  history.jsonl     older versions: replaced or deleted since an earlier backup, never thrown away
  blobs/aa/aabb...  photos and other large data; the name is the SHA-256 of the bytes
  manifest.json     which handset, when, how many, and size and SHA-256 of every file
  SHA256SUMS        the same hashes for the usual tool

Is it whole?
  Run    sha256sum -c SHA256SUMS    in this folder. Every line must say OK.
  If there is a folder .commit, the program was stopped in the last moment of writing: move the
  files in it to this folder first, over those of the same name. A folder .partial is a later
  backup that was not finished; this one does not need it.

A record
  kind     contact, event, todo, note, photo, or calendar (the head of an imported calendar)
  uid      its name; kind and uid together are unique
  body     its lines as the phone or computer wrote them: vCard (RFC 6350, RFC 2426) for contacts,
           iCalendar (RFC 5545) for the rest, unfolded, each ended by a line feed. Around them
           belongs BEGIN:VCARD and END:VCARD for a contact, VEVENT for an event, VTODO for a to-do,
           VJOURNAL for a note. Not UTF-8? Then body_base64 stands there instead of body
           (likewise uid_base64).
  blobs    SHA-256 of the blobs it uses. In the body stands  drybag:blob/HASH  where their base64
           text was.
  parent   for what came from a calendar file: the CRC-32 of the uid of its calendar record, or 0
  seq      number of the change on the handset; stamp: its time in seconds since 2000-01-01 UTC,
           0 unknown; rev: how often it was changed
  sha256   of the record in Drybag's own form (SPEC.md in the Drybag source)
  absent   true: the handset has lost this record without deleting it, the backup has not

All contacts as one .vcf file, with Python:

    import base64, json, re
    def put_back(match):
        name = match.group(1).decode()
        data = open("blobs/%s/%s" % (name[:2], name), "rb").read()
        return base64.b64encode(data)
    with open("contacts.vcf", "wb") as out:
        for line in open("records.jsonl", encoding="utf-8", newline="\\n"):
            record = json.loads(line)
            if record["kind"] == "contact":
                body = base64.b64decode(record["body_base64"]) if "body_base64" in record \\
                    else record["body"].encode()
                body = re.sub(rb"drybag:blob/([0-9a-f]{64})", put_back, body)
                body = body.replace(b"\\n", b"\\r\\n")
                out.write(b"BEGIN:VCARD\\r\\n" + body + b"END:VCARD\\r\\n")
"""
