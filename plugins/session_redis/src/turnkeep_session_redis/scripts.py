"""What the server does by itself: one Lua script for each write, one for a load.

A session is one list: its head, its user, its meta, its state, then its records. Each script takes
that key only, reads the server's own clock, checks before it writes, and answers with a status and
what the head is then. Nothing of a script that has begun to write can fail: the server refuses for
want of memory, or as a replica, at the first write or not at all.
"""

from __future__ import annotations

import hashlib
from typing import Final

FIXED: Final = 4
"""Elements of the list before the first record."""
RENOTE_LEAST: Final = 3_600_000
RENOTE_LASTING: Final = 7 * 86_400_000
"""Milliseconds after which an append also notes its session in the indexes again: a quarter of its
ttl, at least the first of these, the second where it has none. So what an index lost comes back,
and an index that expires does not before its sessions."""

WRITTEN: Final = frozenset({b"ok", b"note", b"done"})
"""The statuses after which what was asked for is written."""


class Script:
    """A script and the name by which the server remembers it."""

    def __init__(self, text: str) -> None:
        self.text = text.strip().encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_COMMON: Final = """
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function interval(ttl)
  if ttl == 0 then return LASTING end
  return math.max(math.floor(ttl / 4), LEAST)
end

local function whole(number) return string.format('%.0f', number) end

local function line(inc, version, seq, base, created, expires, ttl, noted, commit)
  return string.format('1 %s %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %s', inc, version, seq, base,
    created, now, expires, ttl, noted, commit)
end

local function expire(expires)
  if expires == 0 then
    redis.call('PERSIST', key)
  else
    -- The server lets a key live through its last millisecond; the contract does not.
    redis.call('PEXPIREAT', key, whole(math.max(expires - 1, now + 1)))
  end
end

local HEAD = '^1 (%x+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%x*)$'
""".replace("LASTING", str(RENOTE_LASTING)).replace("LEAST", str(RENOTE_LEAST))

CREATE: Final = Script(
    _COMMON
    + """
-- ARGV: incarnation, commit, user, ttl, state
local head = redis.call('LINDEX', key, 0)
if head then
  local inc, version, _, _, _, _, expires, _, _, commit = string.match(head, HEAD)
  if not inc then return {'damaged'} end
  expires = tonumber(expires)
  if expires == 0 or expires > now then
    if version == '0' and commit == ARGV[2] then
      redis.call('LSET', key, 0, head)  -- a write, for a WAIT behind it to wait for
      return {'done', head, redis.call('LINDEX', key, 1), ''}
    end
    return {'exists', head}
  end
  redis.call('DEL', key)
end
local ttl = tonumber(ARGV[4])
local expires = 0
if ttl > 0 then expires = now + ttl end
head = line(ARGV[1], 0, 0, 0, now, expires, ttl, now, ARGV[2])
redis.call('RPUSH', key, head, ARGV[3], '', ARGV[5])
if expires > 0 then expire(expires) end
return {'ok', head}
"""
)

WRITE: Final = Script(
    _COMMON
    + """
-- ARGV: incarnation, version, commit, given ('', 'm', 's', 'ms'), meta, state, base or '',
-- ttl or '', count of replacements, then seq and data of each, then records
local found = redis.call('LRANGE', key, 0, 2)
local head = found[1]
if not head then return {'none'} end
local inc, version, seq, base, created, updated, expires, ttl, noted, commit =
  string.match(head, HEAD)
if not inc or #found < 3 then return {'damaged'} end
expires = tonumber(expires)
if expires > 0 and expires <= now then return {'none'} end
if redis.call('LLEN', key) ~= seq + 4 then return {'damaged'} end
if commit == ARGV[3] then
  redis.call('LSET', key, 0, head)  -- a write, for a WAIT behind it to wait for
  return {'done', head, found[2], found[3]}
end
if inc ~= ARGV[1] or version ~= ARGV[2] then
  return {'conflict', head, found[2], found[3]}
end

local replaced = tonumber(ARGV[9])
local first = 10 + 2 * replaced
local last = tonumber(seq)
local count = #ARGV - first + 1
for at = 10, first - 1, 2 do
  local which = tonumber(ARGV[at])
  if which < 1 or which > last then return {'bad', head, found[2], found[3]} end
end
if ARGV[7] ~= '' then
  base = tonumber(ARGV[7])
  if base < 0 or base > last + count then return {'bad', head, found[2], found[3]} end
end

local status = 'ok'
noted = tonumber(noted)
if ARGV[8] ~= '' and tonumber(ARGV[8]) ~= tonumber(ttl) then
  ttl = ARGV[8]
  noted = 0
end
ttl = tonumber(ttl)
if noted <= now then
  noted = now + interval(ttl)
  status = 'note'
end
local had = expires
expires = 0
if ttl > 0 then expires = now + ttl end

head = line(inc, version + 1, last + count, base, created, expires, ttl, noted, ARGV[3])
redis.call('LSET', key, 0, head)
local at = first
while at <= #ARGV do  -- unpack takes some thousands at most
  redis.call('RPUSH', key, unpack(ARGV, at, math.min(at + 999, #ARGV)))
  at = at + 1000
end
for each = 10, first - 1, 2 do
  redis.call('LSET', key, ARGV[each] + 3, ARGV[each + 1])
end
if ARGV[4] ~= '' then
  if ARGV[4] ~= 's' then redis.call('LSET', key, 2, ARGV[5]) end
  if ARGV[4] ~= 'm' then redis.call('LSET', key, 3, ARGV[6]) end
end
if expires > 0 or had > 0 then expire(expires) end
if ARGV[4] == '' or ARGV[4] == 's' then return {status, head, found[2], found[3]} end
return {status, head, found[2]}
"""
)

DELETE: Final = Script(
    _COMMON
    + """
-- ARGV: incarnation or '', version
local found = redis.call('LRANGE', key, 0, 2)
local head = found[1]
if not head then return {'none'} end
local inc, version, _, _, _, _, expires = string.match(head, HEAD)
if not inc then
  if ARGV[1] ~= '' then return {'damaged'} end
  redis.call('UNLINK', key)
  return {'gone'}
end
expires = tonumber(expires)
if expires > 0 and expires <= now then return {'none'} end
if ARGV[1] ~= '' and (inc ~= ARGV[1] or version ~= ARGV[2]) then
  return {'conflict', head, found[2], found[3]}
end
redis.call('UNLINK', key)
return {'ok', head, found[2]}
"""
)

LOAD: Final = Script(
    _COMMON
    + """
-- ARGV: known incarnation or '', version, after or '', limit or '', most records to give
local found = redis.call('LRANGE', key, 0, 2)
local head = found[1]
if not head then return {'none'} end
local inc, version, seq, base, _, _, expires = string.match(head, HEAD)
if not inc or #found < 3 then return {'damaged'} end
expires = tonumber(expires)
if expires > 0 and expires <= now then return {'none'} end
if inc == ARGV[1] and version == ARGV[2] then
  return {'same', head, found[2], found[3], whole(now)}
end
local first = math.max(tonumber(base), 1)
if ARGV[3] ~= '' then first = tonumber(ARGV[3]) + 1 end
local last = tonumber(seq)
if ARGV[4] ~= '' then last = math.min(last, first + tonumber(ARGV[4]) - 1) end
local records = {}
if last - first >= tonumber(ARGV[5]) then
  records = false
elseif last >= first then
  records = redis.call('LRANGE', key, whole(first + 3), whole(last + 3))
end
return {'ok', head, found[2], found[3], whole(now), redis.call('LINDEX', key, 3),
  redis.call('LLEN', key), records}
"""
)

NOTE: Final = Script(
    """
-- Put a member into an index, and let the index live until a time (0: for ever) at least.
-- ARGV: member, score, until
local left = redis.call('PTTL', KEYS[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
if ARGV[3] == '0' then
  if left >= 0 then redis.call('PERSIST', KEYS[1]) end
elseif left ~= -1 then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  if left == -2 or now + left < tonumber(ARGV[3]) then
    redis.call('PEXPIREAT', KEYS[1], ARGV[3])
  end
end
return 1
"""
)
