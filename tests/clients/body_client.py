"""Sends a secret in the body, as a token endpoint wants it in a form and an API in JSON; what it holds is a placeholder."""

import os
import sys

import requests

base, secret = sys.argv[1], os.environ["CLIENT_SECRET"]
form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": secret, "scope": "a b"}
print("form:", requests.post(f"{base}/oauth/form", data=form, timeout=20).status_code)
document = {"auth": {"client_id": "app", "client_secret": secret}, "note": "caf\u00e9"}
print("json:", requests.post(f"{base}/oauth/json", json=document, timeout=20).status_code)
# Anywhere else it goes nowhere.
astray = requests.post(f"{base}/oauth/astray", json={"note": secret}, timeout=20)
print("astray:", astray.status_code, astray.json()["code"])
