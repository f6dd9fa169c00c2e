#!/usr/bin/env python3
"""The fingerprint v1 of docs/fingerprint.md in plain Python: a second implementation, to check the
first one against and to port from. Standard library only; clarity before speed.

  fingerprint_v1.py           checks every vector of fingerprint_v1.json
  fingerprint_v1.py --write   computes them anew, here and in the document
"""
import decimal, hashlib, hmac, json, pathlib, random, re, sys, urllib.parse, zlib

VECTORS = pathlib.Path(__file__).with_suffix(".json")
DOCUMENT = VECTORS.parents[2] / "docs" / "fingerprint.md"
BODY_MAX = 1024 * 1024  # the policy's
DEPTH_MAX = 128
BOUNDARY_MAX = 70  # RFC 2046 section 5.1.1
IDENTITY_HEADERS = {
    "openai-organization", "openai-project", "soapaction", "stripe-account", "stripe-context",
    "x-account-id", "x-amz-target", "x-http-method", "x-http-method-override", "x-method-override", "x-tenant-id"}


# --- fields and digests ---------------------------------------------------------------------------

def octets(value):
    return value if isinstance(value, bytes) else value.encode()


def digest(fields):
    hashed = hashlib.sha256()
    for field in map(octets, fields):
        hashed.update(len(field).to_bytes(8, "big") + field)
    return hashed.digest()


# --- numbers --------------------------------------------------------------------------------------

class NotCanonical(Exception):
    pass


CONTEXT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN,
                          rounding=decimal.ROUND_HALF_EVEN)


def stripped(value):
    """sign, digits without leading and trailing zeros, exponent; no digits for zero."""
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    return sign, short, exponent + len(text) - len(short)


def number(text, exact=False):
    mantissa, _, exponent = text.lower().partition("e")
    if not mantissa.strip("-0."):
        return "0"
    if len(exponent.lstrip("+-0")) > 15:  # beyond what decimal reads, and far beyond nine digits
        raise NotCanonical("exponent")
    value = CONTEXT.create_decimal(text)
    sign, digits, exponent = stripped(value)
    if abs(exponent) > 999_999_999:
        raise NotCanonical("exponent")
    if exponent < 0 and not exact:
        leading_zeros = max(-value.adjusted() - 1, 0)
        last = -(leading_zeros + 8)
        if exponent < last:
            value = value.quantize(decimal.Decimal((0, (1,), last)), context=CONTEXT)
            sign, digits, exponent = stripped(value)
    return ("-" if sign else "") + digits + "e" + str(exponent)


# --- JSON -----------------------------------------------------------------------------------------

class Number(str):
    pass


def refuse(_):
    raise NotCanonical("NaN or Infinity")


def unique(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise NotCanonical("a repeated key")
    return dict(pairs)


def depth_of(text):
    """Nesting, from the brackets outside strings."""
    depth = deepest = 0
    for bracket in re.findall(r'[][{}]', re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_json(body):
    try:
        text = body.decode("utf-8")
        if depth_of(text) > DEPTH_MAX:
            raise NotCanonical("depth")
        value = json.loads(text, parse_float=Number, parse_int=Number, parse_constant=refuse,
                           object_pairs_hook=unique)
        json_text(value, True, []).encode("utf-8")  # fails for lone surrogates
        return value
    except (ValueError, RecursionError) as error:
        raise NotCanonical(str(error)) from error


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def json_text(value, exact, patterns):
    """patterns: lists of reference tokens, already matched up to here."""
    def children(items):
        for name, child in items:
            below = [p[1:] for p in patterns if p[0] in ("*", name)]
            if [] not in below:
                yield name, json_text(child, exact, below)
    if isinstance(value, Number):
        return number(value, exact)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ",".join(t for _, t in children((str(i), v) for i, v in enumerate(value))) + "]"
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda m: m[0].encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(quoted(k) + ":" + t for k, t in children(members)) + "}"
    return {None: "null", True: "true", False: "false"}[value]


def pointer(text):
    return [t.replace("~1", "/").replace("~0", "~") for t in text.split("/")[1:]]


# --- forms and targets ----------------------------------------------------------------------------

def pairs(text):
    def decode(piece):
        return urllib.parse.unquote_to_bytes(piece.replace(b"+", b" "))
    split = (piece.partition(b"=") for piece in octets(text).split(b"&") if piece)
    return [(decode(name), decode(value)) for name, _, value in split]


def pairs_text(found, ignored):
    kept = sorted((p for p in found if p[0].decode("utf-8", "replace") not in ignored),
                  key=lambda p: p[0])
    return "&".join(urllib.parse.quote(n, safe="") + "=" + urllib.parse.quote(v, safe="")
                    for n, v in kept).encode()


def normal_path(path):
    def encoding(match):
        malformed, octet = match[1] or "", bytes.fromhex(match[2])
        unreserved = rb"[G-Zg-z._~-]" if malformed else rb"[A-Za-z0-9._~-]"
        return malformed + (octet.decode() if re.fullmatch(unreserved, octet) else "%" + match[2].upper())
    segments = []
    path = re.sub("(%[0-9A-Fa-f]?)?%([0-9A-Fa-f]{2})", encoding, path)
    for segment in path.split("/")[1:]:
        if segment == ".." and segments:
            segments.pop()
        elif segment not in (".", ".."):
            segments.append(segment)
    if path.rsplit("/", 1)[-1] in (".", ".."):
        segments.append("")
    return "/" + "/".join(segments)


def target(url):
    scheme, authority, path, query = re.fullmatch(
        r"(https?)://([^/?#]+)([^?#]*)(?:\?([^#]*))?(?:#.*)?", url, re.I).groups()
    host, port = re.fullmatch(r"(\[.*\]|[^:]*)(?::(\d*))?", authority).groups()
    scheme, host = scheme.lower(), host.lower()
    host = host.removesuffix(".")
    port = str(int(port)) if port else ""
    if port == {"http": "80", "https": "443"}[scheme]:
        port = ""
    return scheme, host, port, normal_path(path or "/"), query or ""


# --- bodies ---------------------------------------------------------------------------------------

def header(call, name, absent=""):
    return next((v for n, v in call["headers"] if n.lower() == name), absent)


def inflated(coding, body):
    formats = {"gzip": [31], "x-gzip": [31], "deflate": [15, -15]}.get(coding.lower(), [])
    for window in formats:
        try:
            out, rest = b"", body
            while rest:
                reader = zlib.decompressobj(window)
                out += reader.decompress(rest, BODY_MAX + 1)
                rest = reader.unused_data
                if not reader.eof or len(out) > BODY_MAX or (rest and window != 31):
                    raise zlib.error("cut short, too long, or followed by something")
            return out
        except zlib.error:
            pass
    return None


def parameter(text, wanted):
    for name, quoted_text, token in re.findall(r';\s*([^;=\s]+)\s*=\s*(?:"((?:[^"\\]|\\.|\\$)*)(?:"|$)|([^;]*))',
                                               text):
        if name.lower() == wanted:
            return re.sub(r'\\(["\\])', r"\1", quoted_text) if not token else token.strip()
    return None


def multipart(content_type, body):
    boundary = parameter(content_type, "boundary")
    if not boundary or len(octets(boundary)) > BOUNDARY_MAX:
        return None
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    parts = []
    if b"--" + boundary.encode() in pieces[0]:
        return None
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return None if piece[2:].partition(b"\r\n")[0].strip(b" \t") else parts
        padding, found, rest = piece.partition(b"\r\n")
        rest = b"\r\n" + rest
        if not found or padding.strip(b" \t"):
            return None
        head, found, content = rest.partition(b"\r\n\r\n")
        if not found and not rest.endswith(b"\r\n"):
            return None
        fields = {}
        for line in filter(None, head.decode("latin-1").split("\r\n")):
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not re.fullmatch(r'[^ \t"]+', name) or re.search("[\r\n]", line):
                return None
            if name in fields and name in ("content-disposition", "content-type"):
                return None
            fields[name] = value.strip(" \t")
        disposition = fields.get("content-disposition", "")
        filename = parameter(disposition, "filename*")
        if filename is None:
            filename = parameter(disposition, "filename")
        parts.append((parameter(disposition, "name") or "", filename, fields.get("content-type", ""),
                      content))
    return None  # no closing delimiter


def netstring(field):
    if field is None:
        return b"-,"
    field = field if isinstance(field, bytes) else field.encode("latin-1")
    return str(len(field)).encode() + b":" + field + b","


def body_of(call):
    """kind, what was read, bytes."""
    body = call["body"]
    coding = header(call, "content-encoding").strip()
    if body and coding and coding.lower() != "identity":
        plain = inflated(coding, body)
        if plain is None:
            return "raw", None, body
        body = plain
    if not body:
        return "empty", None, body
    content_type = header(call, "content-type")
    media = content_type.partition(";")[0].strip().lower()
    if (media in ("application/json", "text/json") or media.endswith("+json")
            or media.startswith("application/x-amz-json-")):
        try:
            return "json", read_json(body), body
        except NotCanonical:
            return "raw", None, body
    if media == "application/x-www-form-urlencoded":
        return "form", pairs(body), body
    if media == "multipart/form-data":
        parts = multipart(content_type, body)
        if parts is not None:
            return "multipart", parts, body
    return "raw", None, body


def canonical_body(call, rules):
    kind, value, body = body_of(call)
    ignored = ignored_names(rules, "form")
    if kind == "json":
        patterns = [pointer(r.partition(":")[2]) for r in rules["ignore"] if r.startswith("body:")]
        return kind, json_text(value, rules["exact_floats"], patterns).encode()
    if kind == "form":
        return kind, pairs_text(value, ignored)
    if kind == "multipart":
        return kind, b"".join(netstring(f) for part in value if part[0] not in ignored for f in part)
    return kind, body


def ignored_names(rules, where):
    return {r.partition(":")[2] for r in rules["ignore"] if r.startswith(where + ":")}


# --- scope, fingerprint, id -----------------------------------------------------------------------

def credential(call, rules, secret):
    def is_credential(name):
        return (name in ("authorization", "x-auth-token", "private-token") or "api-key" in name
                or "access-token" in name
                or name in map(str.lower, rules["credential_headers"]))
    found = [(n.lower(), v) for n, v in call["headers"] if is_credential(n.lower())]
    found = found or [(n.lower(), v) for n, v in call["headers"] if n.lower() == "cookie"]
    if not found:
        return ""
    data = ""
    for name, value in sorted(found, key=lambda f: f[0]):
        access_key = re.match(r"AWS4-.*?Credential=([^/, ]*)", value)
        if name == "authorization" and access_key:
            value = access_key[1]
        data += f"{len(octets(name))}:{name}{len(octets(value))}:{value}"
    return hmac.new(octets(secret), octets(data), "sha256").hexdigest()


def counted(found):
    return [str(len(found))] + [field for pair in found for field in pair]


def scope_of(call, rules, secret):
    values = {"agent": call["agent"], "run": call["run"]}
    if "credential" in rules["scope"]:
        values["credential"] = credential(call, rules, secret)
    return counted(sorted((part, values[part]) for part in set(rules["scope"])))


def target_of(call):
    return [call["method"], *target(call["url"])[:4]]


def fingerprint(call, rules, secret):
    kind, canonical = canonical_body(call, rules)
    chosen = IDENTITY_HEADERS | set(map(str.lower, rules["headers"]))
    headers = sorted(((n.lower(), v) for n, v in call["headers"] if n.lower() in chosen),
                     key=lambda h: h[0])
    query = pairs_text(pairs(target(call["url"])[4]), ignored_names(rules, "query"))
    return digest(["v1", *target_of(call), query, kind, canonical, *counted(headers),
                   *scope_of(call, rules, secret)])


UUID = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"


def is_generated(key):
    return re.fullmatch(f'("?)(?:(?:stripe|stainless)-(?:.*-)?retry-)?{UUID}\\1', key) is not None


def fill(template, call, captures):
    def part(match):
        source, name = match[1], match[2]
        if source == "header":
            return header(call, name.lower())
        if source == "path":
            return dict(captures)[name]
        if source == "query":
            return dict(reversed(pairs(target(call["url"])[4])))[name.encode()].decode()
        kind, value, _ = body_of(call)
        if source == "form":
            return next(v.decode() for *n, v in value if n[0] in (name, name.encode()))
        for token in pointer(name):
            value = value[int(token)] if isinstance(value, list) else value[token]
        return value
    return re.sub(r"\$\{(\w+):([^}]*)\}", part, template)


def key_of(call, rules, captures):
    if header(call, "ledger-key"):
        return "header", header(call, "ledger-key")
    if rules["key"]:
        return "route", fill(rules["key"], call, captures)
    key, mode = header(call, "idempotency-key"), rules["idempotency_key"]
    if key and (mode == "honour" or (mode == "auto" and not is_generated(key))):
        return "idempotency-key", key
    return "fingerprint", ""


def record_id(call, rules, route, captures, secret):
    source, key = key_of(call, rules, captures)
    occurrence = str(int(header(call, "ledger-occurrence", "1")))
    if source == "fingerprint":
        return digest(["id-v1", "fingerprint", fingerprint(call, rules, secret), occurrence])
    place = ["route", route] if route else ["call", *target_of(call)]
    return digest(["id-v1", "explicit", *place, *scope_of(call, rules, secret), key, occurrence])


# --- vectors --------------------------------------------------------------------------------------

DEFAULT_RULES = {"scope": ["credential"], "ignore": [], "headers": [], "credential_headers": [],
                 "exact_floats": False, "key": "", "idempotency_key": "auto"}


def solve(vector, secret):
    call = {"headers": [], "agent": "", "run": "", **vector["call"]}
    if "body_hex" in call:
        call["body"] = bytes.fromhex(call["body_hex"])
    call["body"] = octets(call.get("body", b""))
    rules = {**DEFAULT_RULES, **vector.get("rules", {})}
    route, captures = vector.get("route", ""), vector.get("captures", [])
    kind, canonical = canonical_body(call, rules)
    source, key = key_of(call, rules, captures)
    return {"kind": kind, "canonical_hex": canonical.hex(), "key_source": source, "key": key,
            "fingerprint": fingerprint(call, rules, secret).hex(),
            "id": record_id(call, rules, route, captures, secret).hex()}


def number_texts():
    """The edges, then a seeded sample; each with its canonical texts."""
    texts = """0 -0 0.0 -0.0e5 0e99999999999 1 -1 10 100 49 49.0 4.9e1 0.49E+2 490e-1 1e400 10e399
        9007199254740992 9007199254740993 123456789012345678901234567890 1E999999999 10e999999999
        0.1e1000000000 1e1000000000 1e-999999999 1e-1000000000 1e99999999999999999999 1e0000000002
        0.1 0.10 0.30000000000000004 0.3 0.000000001 0.0000000012345678 0.00000000123456785
        0.000000001234567850 0.00000000123456775 0.0000000012345677500001 0.09999999999 0.99999999
        0.999999995 0.999999985 0.9999999949 1.000000005 1.000000015 1.0000000150000001 -1.000000005
        -1.000000015 1.123456785 1.123456775 99999999.999999995 12345678901234567890.123456785
        5e-324 1.7976931348623157e308 333333333.33333329 0.000000000000000000000000001
        123456789012.5e-12 1234567890125e-13 1.5e1 1.5e-1 19.99 19.990000000000002""".split()
    pick = random.Random(20260101)
    for _ in range(150):
        digits = "".join(pick.choices("0123456789" if pick.random() < .5 else "0559", k=pick.randint(1, 24)))
        text = pick.choice(["", "-"]) + (digits.lstrip("0") or "0")
        if pick.random() < .8:
            text += "." + "".join(pick.choices("00459", k=pick.randint(1, 16)))
        if pick.random() < .4:
            text += pick.choice("eE") + pick.choice(["", "+", "-"]) + str(pick.randint(0, 30))
        texts.append(text)
    return texts


def number_vector(text):
    try:
        return [text, number(text), number(text, exact=True)]
    except NotCanonical:
        return [text, None, None]


def write(vectors, solved, numbers):
    def rows(values, indent=None):
        texts = (json.dumps(v, ensure_ascii=False, indent=indent) for v in values)
        return ",\n".join("    " + t.replace("\n", "\n    ") for t in texts)
    calls = [{**v, "expect": r} for v, r in zip(vectors["calls"], solved)]
    VECTORS.write_text('{\n  "about": %s,\n  "secret": %s,\n  "calls": [\n%s\n  ],\n  "numbers": [\n%s\n  ]\n}\n' % (
        json.dumps(vectors["about"]), json.dumps(vectors["secret"]), rows(calls, 2), rows(numbers)))
    listed = "".join(f"{v['name']}\n  fingerprint  {r['fingerprint']}\n  id           {r['id']}\n"
                     for v, r in zip(calls, solved))
    before, rest = DOCUMENT.read_text().split("<!-- vectors -->\n")
    after = rest.split("<!-- end of vectors -->\n")[1]
    DOCUMENT.write_text(f"{before}<!-- vectors -->\n```\n{listed}```\n<!-- end of vectors -->\n{after}")


def main():
    vectors = json.loads(VECTORS.read_text())
    numbers = [number_vector(text) for text in number_texts()]
    solved = [solve(v, vectors["secret"]) for v in vectors["calls"]]
    if sys.argv[1:] == ["--write"]:
        write(vectors, solved, numbers)
        return 0
    wrong = [v["name"] for v, r in zip(vectors["calls"], solved) if v["expect"] != r]
    wrong += [n[0] for n, m in zip(vectors["numbers"], numbers) if n != m]
    if len(numbers) != len(vectors["numbers"]):
        wrong.append("the list of numbers")
    document = DOCUMENT.read_text()
    wrong += [v["name"] + " (in the document)" for v, r in zip(vectors["calls"], solved)
              if f"fingerprint  {r['fingerprint']}\n  id           {r['id']}\n" not in document]
    print("\n".join(wrong) or f"{len(solved)} calls and {len(numbers)} numbers agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
