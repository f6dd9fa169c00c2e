// An agent's tool, in Node's own fetch. It knows nothing of Ledger.
const body = new URLSearchParams({ amount: 4900, currency: 'usd', customer: 'cus_ada' });
for (let attempt = 1; attempt <= 5; attempt++) {
  const answer = await fetch(process.env.STRIPE, { method: 'POST', body, headers: { Authorization: 'Bearer sk_demo' } });
  console.log(`  attempt ${attempt}: ${(await answer.json()).id}`);
}
