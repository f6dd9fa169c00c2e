# An agent's tool, in Python's standard library. It knows nothing of Ledger.
import json, os, urllib.parse, urllib.request

form = urllib.parse.urlencode({"amount": 4900, "currency": "usd", "customer": "cus_ada"}).encode()
for attempt in range(1, 6):
    request = urllib.request.Request(os.environ["STRIPE"], form, {"Authorization": "Bearer sk_demo"})
    with urllib.request.urlopen(request) as answer:
        print(f"  attempt {attempt}: {json.load(answer)['id']}", flush=True)
