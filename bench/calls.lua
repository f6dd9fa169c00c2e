-- 200-byte JSON POSTs. wrk ... -- PATH [SEED]: with a seed every body is another one.
local path, seed, count, thread = "/", nil, 0, 0
local threads = 0
function setup(t) t:set("id", threads); threads = threads + 1 end
function init(args)
  path, seed = args[1] or "/", args[2]
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if not seed then fixed = wrk.format("POST", path, nil, body("0")) end
end
function body(mark)
  local text = '{"amount":4900,"currency":"usd","customer":{"id":"cus_42","name":"A. Buyer"},"items":[1,2.5,true,null],"mark":"' .. mark .. '","note":"'
  return text .. string.rep("n", 200 - #text - 2) .. '"}'
end
function request()
  if not seed then return fixed end
  count = count + 1
  return wrk.format("POST", path, nil, body(string.format("%s-%d-%08d", seed, id, count)))
end
