"""Limits shared by all edges through Redis: one atomic script a decision, with Redis's own clock."""

from collections.abc import Callable

from asahi_core.redis.scripts import Argument, ScriptCalls, script
from asahi_edge.domain.limits import WINDOW_S, Decision, Demand, Standing, settles_nothing

_ADMIT = script("""
-- KEYS: one hash a limit, second -> count. ARGV: the second or '' for Redis's; then limit and amount of each key.
local time = redis.call('TIME')
local now, micros = tonumber(time[1]), tonumber(time[2])
if ARGV[1] ~= '' then now, micros = tonumber(ARGV[1]), 0 end
local oldest, refused, free_at, used, newest = now - 59, 0, 0, {}, {}
for i, key in ipairs(KEYS) do
  local limit, amount = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local counts, flat = {}, redis.call('HGETALL', key)
  used[i], newest[i] = 0, 0
  for j = 1, #flat, 2 do
    local second, count = tonumber(flat[j]), tonumber(flat[j + 1])
    if second < oldest then
      redis.call('HDEL', key, flat[j])
    else
      counts[second] = count
      used[i] = used[i] + count
      if second > newest[i] then newest[i] = second end
    end
  end
  local excess = used[i] + amount - limit
  if excess > 0 then
    local at = now + 60
    for second = oldest, now do
      excess = excess - (counts[second] or 0)
      if excess <= 0 then at = second + 60 break end
    end
    if at > free_at then refused, free_at = i, at end
  end
end
if refused == 0 then
  for i, key in ipairs(KEYS) do
    local amount = tonumber(ARGV[2 * i + 1])
    redis.call('HINCRBY', key, now, amount)
    redis.call('EXPIRE', key, 61)
    used[i], newest[i] = used[i] + amount, now
  end
end
local told = {now, micros, refused, free_at}
for i = 1, #KEYS do
  told[#told + 1] = used[i]
  told[#told + 1] = newest[i]
end
return told
""")
_SETTLE = script("""
-- KEYS: the hashes. ARGV: the second; then the difference of each key. What has left the window is not touched.
for i, key in ipairs(KEYS) do
  if redis.call('HEXISTS', key, ARGV[1]) == 1 then redis.call('HINCRBY', key, ARGV[1], ARGV[i + 1]) end
end
""")


def redis_second() -> str:
    """Leaves the time to Redis."""
    return ""


class RedisLimits:
    """Raises what `redis.asyncio` raises; `stores.limits_shared` is what stands between it and requests."""

    def __init__(self, calls: ScriptCalls, second: Callable[[], str] = redis_second) -> None:
        """`second`: the time that scripts are told, for tests; empty leaves it to Redis."""
        self._calls = calls
        self._second = second
        self.reachable: Callable[[], bool] = lambda: True
        """Whether it is worth the while to settle."""

    async def admit(self, demand: Demand) -> Decision:
        """Decides over all limits of `demand` in one round trip."""
        keys = [f"asahi:limits:{{{demand.organization_id}}}:{limit.window}" for limit in demand.limits]
        asked: list[Argument] = [self._second()]
        for limit in demand.limits:
            asked += (limit.per_minute, demand.amount(limit))
        second, micros, refused, free_at, *told = await self._calls.run(_ADMIT, keys, asked)
        now = second + micros / 1e6
        standings = tuple(
            Standing(limit, used, max(0.0, newest + WINDOW_S - now))
            for limit, used, newest in zip(demand.limits, told[::2], told[1::2], strict=True)
        )
        if refused:
            return Decision(standings, settles_nothing, demand.limits[refused - 1], free_at - now)
        return Decision(standings, lambda tokens: self._settle(demand, keys, second, tokens))

    def _settle(self, demand: Demand, keys: list[str], second: int, tokens: int) -> None:
        """Settles beside the answer. Where that fails the estimate stays, for a minute at most."""
        differences = {
            key: tokens - demand.amount(limit)
            for key, limit in zip(keys, demand.limits, strict=True)
            if limit.unit == "tokens" and tokens != demand.amount(limit)
        }
        if differences and self.reachable():
            self._calls.run(_SETTLE, list(differences), [second, *differences.values()])
