"""`drybag scrub`: the handset reads everything it has and checks it."""

from drybag_host.targets import add_handset

ORDER = 41


def add_parser(sub):
    parser = sub.add_parser(
        "scrub",
        help="let a handset check every record and photo it has",
        description="Let a handset read everything on its flash and check every CRC and hash. "
        "Damage is named; what is intact stays readable.",
        epilog="example:\n  drybag scrub auto\n",
    )
    add_handset(parser)


def run(args):
    from drybag.errors import Damaged
    from drybag_host.output import count_text
    from drybag_host.targets import open_session

    findings = []
    with open_session(args) as session, args.out.progress("checking", None, "record") as bar:

        def work(link):
            findings.clear()
            for finding in link.scrub():
                if finding.get("kind") == "progress":
                    bar.set_done(finding.get("checked", bar.done))
                else:
                    findings.append(dict(finding))

        session.attempt(work)
    summary = findings.pop() if findings and findings[-1].get("kind") == "summary" else {}
    args.out.document({"findings": findings, "summary": summary})
    rows = [(_value(f, "kind"), _value(f, "where"), _rest(f)) for f in findings]
    if rows:
        args.out.table("Damage on %s" % session.target, ("kind", "where", "what"), rows)
    rows = [(k.replace("_", " "), _value(summary, k)) for k in summary if k != "kind"]
    args.out.facts("Checked on %s" % session.target, rows)
    if findings:
        raise Damaged("%s on %s" % (count_text(len(findings), "finding"), session.target))
    return 0


def _value(finding, key):
    value = finding.get(key, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _rest(finding):
    rest = [
        "%s %s" % (key, _value(finding, key)) for key in finding if key not in ("kind", "where")
    ]
    return ", ".join(rest)
