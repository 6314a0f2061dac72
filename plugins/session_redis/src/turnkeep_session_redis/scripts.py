"""What the server does by itself: one Lua script for each write, one for a load.

A session is one list: its head, its user, its meta, its state, then its records. Each script takes
that key only, reads the server's own clock, checks before it writes, and answers with a status and
what the head is then. Nothing of a script that has begun to write can fail: the server refuses for
want of memory, or as a replica, at the first write or not at all.

A head is binary, so that Lua and Python read and write all its numbers in one call: a byte that
names its form, the incarnation, eight integers of eight bytes (version, seq, base, created,
updated, expires, ttl, noted; times and ttl in ms), and the commit id. What a script says of it is
one string, for a client pays for each element of a list: a status, the head without its commit id,
the clock, the user with its length before it, and the meta.
"""

from __future__ import annotations

import hashlib
from typing import Final

FIXED: Final = 4
"""Elements of the list before the first record."""
HEAD_FORM: Final = b"h"
"""The first byte of a head."""
HEAD_SIZE: Final = 73
"""Bytes of a head before its commit id."""
RENOTE_LEAST: Final = 3_600_000
RENOTE_LASTING: Final = 7 * 86_400_000
"""Milliseconds after which an append also notes its session in the indexes again: a quarter of its
ttl, at least the first of these, the second where it has none. So what an index lost comes back,
and an index that expires does not before its sessions."""
RENOTE_SOON: Final = 60_000
"""Milliseconds after which it does so where nobody has confirmed that the last note was done."""

OK: Final = b"k"
OK_NOTE: Final = b"K"
"""Written, and the session is to be noted in the indexes again."""
DONE: Final = b"r"
"""Repeated: it was written before, by the same commit id."""
NONE: Final = b"n"
DAMAGED: Final = b"d"
EXISTS: Final = b"e"
CONFLICT: Final = b"c"
BAD: Final = b"b"
"""A seq or base that is out of range."""
GONE: Final = b"g"
"""Deleted without being understood."""
SAME: Final = b"s"

WRITTEN: Final = frozenset({OK, OK_NOTE, DONE})
"""The statuses after which what was asked for is written."""


class Script:
    """A script and the name by which the server remembers it."""

    def __init__(self, text: str) -> None:
        self.text = text.strip().encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_CLOCK: Final = """
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function say(status, head, user, meta)
  return status .. string.sub(head, 1, 73) .. struct.pack('>I8I2', now, #user) .. user .. meta
end
"""

_FOUND: Final = (
    _CLOCK
    + """
local found = redis.call('LRANGE', key, 0, 2)
local head = found[1]
if not head then return 'n' end
local form = #found == 3 and #head >= 73 and string.byte(head)
"""
)

CREATE: Final = Script(
    _CLOCK
    + """
-- ARGV: incarnation, commit, user, ttl, state
local head = redis.call('LINDEX', key, 0)
if head then
  if #head < 73 or string.byte(head) ~= 104 then return 'd' end
  local version = struct.unpack('>I8', head, 10)
  local expires = struct.unpack('>I8', head, 50)
  if expires == 0 or expires > now then
    if version == 0 and string.sub(head, 74) == ARGV[2] then
      redis.call('LSET', key, 0, head)  -- a write, for a WAIT behind it to wait for
      return say('r', head, redis.call('LINDEX', key, 1), '')
    end
    return say('e', head, '', '')
  end
  redis.call('DEL', key)
end
local ttl = tonumber(ARGV[4])
local expires = 0
if ttl > 0 then expires = now + ttl end
head = 'h' .. ARGV[1] .. struct.pack('>I8I8I8I8I8I8I8I8', 0, 0, 0, now, now, expires, ttl, now)
  .. ARGV[2]
redis.call('RPUSH', key, head, ARGV[3], '', ARGV[5])
if expires > 0 then
  -- The server lets a key live through its last millisecond; the contract does not.
  redis.call('PEXPIREAT', key, string.format('%.0f', math.max(expires - 1, now + 1)))
end
return say('k', head, '', '')
"""
)

WRITE: Final = Script(
    _FOUND
    + """
-- ARGV: incarnation with version, commit, then in one: whether meta, state, base, ttl are given,
-- base, ttl, count of replacements; then meta and state where they are given, seq and data of each
-- replacement, the records
if form ~= 104 then return 'd' end
local version, seq, base, created, _, had, ttl, noted =
  struct.unpack('>I8I8I8I8I8I8I8I8', head, 10)
if had > 0 and had <= now then return 'n' end
if redis.call('LLEN', key) ~= seq + 4 then return 'd' end
if string.sub(head, 74) == ARGV[2] then
  redis.call('LSET', key, 0, head)  -- a write, for a WAIT behind it to wait for
  return say('r', head, found[2], found[3])
end
if string.sub(head, 2, 17) ~= ARGV[1] then return say('c', head, found[2], found[3]) end

local with_meta, with_state, with_base, with_ttl, new_base, new_ttl, replaced =
  struct.unpack('>BBBBI8I8I4', ARGV[3])
local replacing = 4 + with_meta + with_state
local first = replacing + 2 * replaced
local last = seq + #ARGV - first + 1
for at = replacing, first - 1, 2 do
  local which = tonumber(ARGV[at])
  if which < 1 or which > seq then return say('b', head, found[2], found[3]) end
end
if with_base == 1 then
  base = new_base
  if base > last then return say('b', head, found[2], found[3]) end
end

local status = 'k'
if with_ttl == 1 and new_ttl ~= ttl then
  ttl = new_ttl
  noted = 0
end
if noted <= now then
  noted = now + SOON
  status = 'K'
end
local expires = 0
if ttl > 0 then expires = now + ttl end

head = string.sub(head, 1, 9)
  .. struct.pack('>I8I8I8I8I8I8I8I8', version + 1, last, base, created, now, expires, ttl, noted)
  .. ARGV[2]
redis.call('LSET', key, 0, head)
for at = first, #ARGV, 1000 do  -- unpack takes some thousands at most
  redis.call('RPUSH', key, unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
for at = replacing, first - 1, 2 do
  redis.call('LSET', key, ARGV[at] + 3, ARGV[at + 1])
end
if with_meta == 1 then redis.call('LSET', key, 2, ARGV[4]) end
if with_state == 1 then redis.call('LSET', key, 3, ARGV[4 + with_meta]) end
if expires > 0 then
  -- The server lets a key live through its last millisecond; the contract does not.
  redis.call('PEXPIREAT', key, string.format('%.0f', math.max(expires - 1, now + 1)))
elseif had > 0 then
  redis.call('PERSIST', key)
end
return say(status, head, found[2], with_meta == 1 and '' or found[3])
""".replace("SOON", str(RENOTE_SOON))
)

NOTED: Final = Script(
    _CLOCK
    + """
-- The indexes have it: put the next note off, unless somebody has written since, whose note it is.
-- ARGV: incarnation with version
local head = redis.call('LINDEX', key, 0)
if not head or #head < 73 or string.byte(head) ~= 104 then return 0 end
if string.sub(head, 2, 17) ~= ARGV[1] then return 0 end
local ttl = struct.unpack('>I8', head, 58)
local noted = now + (ttl == 0 and LASTING or math.max(math.floor(ttl / 4), LEAST))
redis.call('LSET', key, 0, string.sub(head, 1, 65) .. struct.pack('>I8', noted)
  .. string.sub(head, 74))
return 1
""".replace("LASTING", str(RENOTE_LASTING)).replace("LEAST", str(RENOTE_LEAST))
)

DELETE: Final = Script(
    _FOUND
    + """
-- ARGV: incarnation, with or without version; '' deletes what cannot be understood
if form ~= 104 then
  if ARGV[1] ~= '' then return 'd' end
  redis.call('UNLINK', key)
  return 'g'
end
local expires = struct.unpack('>I8', head, 50)
if expires > 0 and expires <= now then return 'n' end
if ARGV[1] == '' or string.sub(head, 2, 1 + #ARGV[1]) ~= ARGV[1] then
  return say('c', head, found[2], found[3])
end
redis.call('UNLINK', key)
return say('k', head, found[2], '')
"""
)

LOAD: Final = Script(
    _FOUND
    + """
-- ARGV: known incarnation with version or '', after or '', limit or '', most records to give
if form ~= 104 then return 'd' end
local expires = struct.unpack('>I8', head, 50)
if expires > 0 and expires <= now then return 'n' end
if string.sub(head, 2, 17) == ARGV[1] then return say('s', head, found[2], found[3]) end
local last, first = struct.unpack('>I8I8', head, 18)
first = math.max(first, 1)
if ARGV[2] ~= '' then first = tonumber(ARGV[2]) + 1 end
if ARGV[3] ~= '' then last = math.min(last, first + tonumber(ARGV[3]) - 1) end
local records = {}
if last - first >= tonumber(ARGV[4]) then
  records = false
elseif last >= first then
  records = redis.call('LRANGE', key, string.format('%.0f', first + 3),
    string.format('%.0f', last + 3))
end
return {say('k', head, found[2], found[3]), redis.call('LINDEX', key, 3), redis.call('LLEN', key),
  records}
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
