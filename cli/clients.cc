#include "cli/clients.h"

namespace ledger::cli {
namespace {

// A Python library, where it can be imported: `call` is a statement about `url`.
Client python(const std::string& library, const std::string& call, const std::string& bypassed,
              const std::string& refused) {
  return {"python " + library,
          "python3",
          {"-c", "import sys, importlib; importlib.import_module(sys.argv[1])", library},
          {"-c", "import sys; url = sys.argv[1]\n" + call, "{url}"},
          {},
          bypassed,
          refused};
}

const std::string python_bypassed =
    "look for the host in NO_PROXY, and for proxies={} or trust_env=False in the code";

}  // namespace

const std::vector<Client>& known_clients() {
  static const std::vector<Client> clients = {
      {"curl",
       "curl",
       {},
       {"-sS", "-o", "/dev/null", "{url}"},
       {},
       "look for noproxy or proxy in ~/.curlrc, and for the host in NO_PROXY",
       "set CURL_CA_BUNDLE={bundle}, and look for cacert or capath in ~/.curlrc"},
      {"wget",
       "wget",
       {},
       {"-nv", "--tries=1", "-O", "/dev/null", "{url}"},
       {},
       "look for use_proxy or no_proxy in ~/.wgetrc, and for the host in NO_PROXY",
       "wget reads no variable for it: put ca_certificate = {bundle} into ~/.wgetrc"},
      {"git",
       "git",
       {},
       {"ls-remote", "{url}"},
       {{"GIT_TERMINAL_PROMPT", "0"}},
       "look at git config --show-origin --get-regexp 'http.*proxy', and for the host in NO_PROXY",
       "set GIT_SSL_CAINFO={bundle}, and look at git config --show-origin http.sslCAInfo"},
      python("urllib.request", "import urllib.request; urllib.request.urlopen(url).read()",
             "look for the host in NO_PROXY, and for ProxyHandler({}) in the code",
             "set SSL_CERT_FILE={bundle}"),
      python("requests", "import requests; requests.get(url)", python_bypassed,
             "set REQUESTS_CA_BUNDLE={bundle}, and look for verify= in the code"),
      python("httpx", "import httpx; httpx.get(url)", python_bypassed,
             "set SSL_CERT_FILE={bundle}, and look for verify= in the code"),
      python("aiohttp",
             "import aiohttp, asyncio\n"
             "async def call():\n"
             "  async with aiohttp.ClientSession() as session:\n"
             "    async with session.get(url) as answer: await answer.read()\n"
             "asyncio.run(call())",
             "aiohttp reads the proxy variables only with ClientSession(trust_env=True)",
             "set SSL_CERT_FILE={bundle}"),
      {"node fetch",
       "node",
       {"-e", "fetch"},
       {"-e",
        "fetch(process.argv[1]).then(r => r.text())"
        ".catch(e => { console.error(String(e.cause || e)); process.exit(1) })",
        "{url}"},
       {},
       "before Node 24 fetch reads no proxy variables: keep the NODE_OPTIONS of `ledger run`, or "
       "use undici's EnvHttpProxyAgent; from Node 24 on set NODE_USE_ENV_PROXY=1",
       "set NODE_EXTRA_CA_CERTS={ca}"},
      {"node http(s)",
       "node",
       {},
       {"-e",
        "const url = process.argv[1]; require(url.split(':')[0]).get(url, r => r.resume())"
        ".on('error', e => { console.error(e.message); process.exit(1) })",
        "{url}"},
       {},
       "before Node 24.5 http and https read no proxy variables: keep the NODE_OPTIONS of "
       "`ledger run`, or use proxy-agent; from Node 24.5 on set NODE_USE_ENV_PROXY=1",
       "set NODE_EXTRA_CA_CERTS={ca}"},
      // keytool reads its list of revocations with java.net.URL, and is in every JDK and JRE.
      {"java",
       "keytool",
       {},
       {"-printcrl", "-file", "{url}"},
       {},
       "Java reads no proxy variables: set JAVA_TOOL_OPTIONS='-Dhttp.proxyHost={host} "
       "-Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port}'",
       "keytool -importcert -noprompt -cacerts -storepass changeit -alias ledger -file {ca}"},
      // The go command fetches modules with net/http, like any program in Go, and without
      // compiling.
      {"go",
       "go",
       {},
       {"mod", "download", "-modcacherw", "example.com/doctor@v1.0.0"},
       {{"GOPROXY", "{url}"},
        {"GOMODCACHE", "{folder}"},
        {"GOSUMDB", "off"},
        {"GOFLAGS", ""},
        {"GOTOOLCHAIN", "local"}},
       "look for the host in NO_PROXY, and for a Transport without Proxy in the code: "
       "http.ProxyFromEnvironment reads the variables",
       "set SSL_CERT_FILE={bundle}"},
  };
  return clients;
}

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size())
    text.replace(at, what.size(), by);
}

}  // namespace ledger::cli
