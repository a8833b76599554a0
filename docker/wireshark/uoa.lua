-- Shows UOA (UDP Option of Address) in Wireshark and tshark: IPv4 options and IPv6 destination options 31, 30
-- and 29, and protocol 248 between IP and UDP. Layouts: docs/wire-formats.md; use: docs/sniff.md.
--
--   tshark -X lua_script:uoa.lua -r file.pcap -Y 'uoa.client == "10.1.0.2"'

local uoa = Proto("uoa", "UDP Option of Address")
-- Runs behind everything else and looks for options in what the IP dissectors found.
local options = Proto("uoa_options", "UDP Option of Address in options")

local dialect = ProtoField.string("uoa.dialect", "Dialect")
local option_type = ProtoField.uint8("uoa.option_type", "Option type")
local client = ProtoField.string("uoa.client", "Client address")
local client_ipv4 = ProtoField.ipv4("uoa.client_ipv4", "Client address (IPv4)")
local client_ipv6 = ProtoField.ipv6("uoa.client_ipv6", "Client address (IPv6)")
local client_port = ProtoField.uint16("uoa.client_port", "Client port")
local vip = ProtoField.string("uoa.vip", "Virtual address")
local vip_ipv4 = ProtoField.ipv4("uoa.vip_ipv4", "Virtual address (IPv4)")
local vip_ipv6 = ProtoField.ipv6("uoa.vip_ipv6", "Virtual address (IPv6)")
local vport = ProtoField.uint16("uoa.vport", "Virtual port")
local vni = ProtoField.uint32("uoa.vni", "VNI")
local empty = ProtoField.bool("uoa.empty", "Empty payload (carrier or echo ACK)")
local malformed = ProtoField.string("uoa.malformed", "Malformed")
local is_malformed = ProtoExpert.new("uoa.malformed.expert", "Malformed UOA", expert.group.MALFORMED, expert.severity.ERROR)

uoa.fields = {
  dialect, option_type, client, client_ipv4, client_ipv6, client_port, vip, vip_ipv4, vip_ipv6, vport, vni, empty, malformed,
}
uoa.experts = { is_malformed }

local PROTOCOL_OPP = 248
local PROTOCOL_UDP = 17
local OPP_HEADER_LEN = 4
local UDP_HEADER_LEN = 8
local OPTION_END = 0
local OPTION_NOP = 1
local TYPE_ADDRESS = 31
local TYPE_VNI = 29

local function is_uoa(kind) return kind >= 29 and kind <= 31 end

-- An address of 4 or 16 bytes as text, never as a name: filters compare with it.
local function address_text(range)
  if range:len() == 4 then
    return string.format("%d.%d.%d.%d", range(0, 1):uint(), range(1, 1):uint(), range(2, 1):uint(), range(3, 1):uint())
  end
  local groups, best, best_len = {}, 0, 1
  for i = 1, 8 do groups[i] = range(2 * (i - 1), 2):uint() end
  for start = 1, 8 do
    local len = 0
    while start + len <= 8 and groups[start + len] == 0 do len = len + 1 end
    if len > best_len then best, best_len = start, len end
  end
  local function text(from, to)
    local parts = {}
    for i = from, to do parts[#parts + 1] = string.format("%x", groups[i]) end
    return table.concat(parts, ":")
  end
  if best == 0 then return text(1, 8) end
  return text(1, best - 1) .. "::" .. text(best + best_len, 8)
end

-- What stands behind type, length and operation -> the parts of a UOA as ranges, or nil. `plain` is what the
-- form without virtual address is called where it stands.
local function read_content(kind, content, plain)
  local len = content:len()
  if kind == TYPE_VNI and (len == 12 or len == 28) then
    return { dialect = "vni", vni = content(0, 4), port = content(4, 2), client = content(8, len == 12 and 4 or 16) }
  elseif kind == TYPE_ADDRESS and (len == 6 or len == 18) then
    return { dialect = plain, port = content(0, 2), client = content(2, len - 2) }
  elseif kind ~= TYPE_VNI and (len == 12 or len == 36) then
    local address_len = (len - 4) / 2
    return {
      dialect = "unified",
      port = content(0, 2),
      vport = content(2, 2),
      client = content(4, address_len),
      vip = content(4 + address_len, address_len),
    }
  end
  return nil
end

-- An IPv4 option from its type on.
local function read_ip_option(option)
  local kind, len = option(0, 1):uint(), option:len()
  local strange = string.format("IP option %d of length %d, which no UOA has", kind, len)
  if kind == TYPE_ADDRESS and (len == 8 or len == 20) then return read_content(kind, option(2), "ipo") end
  if len <= 4 then return nil, strange end
  local found = read_content(kind, option(4), "ipo")
  if found == nil or found.dialect == "ipo" then return nil, strange end
  local operation = found.client:len() == 16 and 1 or 0
  if option(2, 1):uint() ~= operation or option(3, 1):uint() ~= 0 then
    return nil, string.format("IP option %d of length %d with a wrong operation", kind, len)
  end
  return found
end

local function read_destination_option(option)
  local kind, len = option(0, 1):uint(), option:len() - 2
  local found = len > 0 and read_content(kind, option(2), "elb") or nil
  if found == nil then return nil, string.format("destination option %d of length %d, which no UOA has", kind, len) end
  return found
end

-- Calls found(option, kind, reason) for each option that is or was meant to be a UOA; `reason` when it goes
-- beyond the header. `extra`: what a length does not count.
local function each_option(range, from, extra, ends, found)
  local at, total = from, range:len()
  while at < total do
    local kind = range(at, 1):uint()
    if ends and kind == OPTION_END then return end
    if kind == (ends and OPTION_NOP or 0) then
      at = at + 1
    else
      local len = at + 1 < total and range(at + 1, 1):uint() + extra or 0
      if len < 2 or at + len > total then
        if is_uoa(kind) then found(range(at), string.format("option %d of length %d goes beyond its header", kind, len)) end
        return
      end
      if is_uoa(kind) then found(range(at, len)) end
      at = at + len
    end
  end
end

local function show_malformed(branch, range, reason)
  branch:add(malformed, range, reason)
  branch:add_proto_expert_info(is_malformed, reason)
  branch:append_text(", malformed: " .. reason)
end

local function show_address(branch, name, ipv4, ipv6, range)
  local text = address_text(range)
  branch:add(name, range, text)
  branch:add(range:len() == 4 and ipv4 or ipv6, range)
  return text
end

local function show(branch, pinfo, found, option)
  branch:add(dialect, option, found.dialect)
  branch:add(option_type, option(0, 1))
  if found.vni then branch:add(vni, found.vni) end
  local text = show_address(branch, client, client_ipv4, client_ipv6, found.client)
  branch:add(client_port, found.port)
  if found.client:len() == 16 then text = "[" .. text .. "]" end
  text = string.format("client %s:%d", text, found.port:uint())
  branch:append_text(string.format(": %s, %s", found.dialect, text))
  pinfo.cols.info:append(" [" .. text .. "]")
  if found.vip then
    show_address(branch, vip, vip_ipv4, vip_ipv6, found.vip)
    branch:add(vport, found.vport)
  end
end

-- Why a protocol-248 header is none; nil for a right one.
local function opp_fault(tvb, length)
  if tvb(1, 1):uint() ~= PROTOCOL_UDP then return "protocol 248: not UDP inside" end
  if length ~= 12 and length ~= 24 then return string.format("protocol 248: length %d, not 12 or 24", length) end
  if length > tvb:len() then return "protocol 248: longer than the packet" end
  local version = length == 24 and 0x20 or 0x10
  if tvb(0, 1):uint() ~= version then return "protocol 248: version does not go with its length" end
  if tvb(4, 1):uint() ~= TYPE_ADDRESS then return "protocol 248: option type is not 31" end
  if tvb(5, 1):uint() ~= length - OPP_HEADER_LEN then return "protocol 248: wrong option length" end
  return nil
end

-- Protocol 248: the header, then UDP as if it were not there.
function uoa.dissector(tvb, pinfo, tree)
  pinfo.cols.protocol = "UOA"
  if tvb:len() < OPP_HEADER_LEN then
    show_malformed(tree:add(uoa, tvb()), tvb(), "protocol 248: shorter than its header")
    return
  end
  local length = tvb(2, 2):uint()
  local header = tvb(0, math.max(OPP_HEADER_LEN, math.min(length, tvb:len())))
  local branch = tree:add(uoa, header)
  local fault = opp_fault(tvb, length)
  local has_udp = tvb(1, 1):uint() == PROTOCOL_UDP and length >= OPP_HEADER_LEN and length < tvb:len()
  if has_udp then Dissector.get("udp"):call(tvb(length):tvb(), pinfo, tree) end
  if fault then
    show_malformed(branch, header, fault)
    return
  end
  local option = tvb(OPP_HEADER_LEN, length - OPP_HEADER_LEN)
  show(branch, pinfo, read_content(TYPE_ADDRESS, option(2), "opp"), option)
  if tvb:len() >= length + UDP_HEADER_LEN then
    branch:add(empty, tvb(length + 4, 2), tvb(length + 4, 2):uint() == UDP_HEADER_LEN)
  end
end

local ip_header = Field.new("ip")
local destination_header = Field.new("ipv6.dstopts")
local udp_length = Field.new("udp.length")
local icmp_errors = { Field.new("icmp"), Field.new("icmpv6") }

-- Options of the packet itself, not of one that an ICMP error brings back.
function options.dissector(_, pinfo, tree)
  local limit = math.huge
  for _, field in ipairs(icmp_errors) do
    for _, info in ipairs({ field() }) do limit = math.min(limit, info.offset) end
  end
  local lengths = { udp_length() }
  local function show_options(info, from, extra, ends, read)
    if info.offset >= limit then return end
    local seen = false
    each_option(info.range, from, extra, ends, function(option, reason)
      local branch = tree:add(uoa, option)
      local found
      if reason == nil then found, reason = read(option) end
      if found and seen then reason = "more than one UOA" end
      if found then show(branch, pinfo, found, option) end
      if reason then show_malformed(branch, option, reason) end
      if found and #lengths > 0 then branch:add(empty, lengths[#lengths].range, lengths[#lengths].value == UDP_HEADER_LEN) end
      seen = seen or found ~= nil
    end)
  end
  for _, info in ipairs({ ip_header() }) do
    if info.len > 20 then show_options(info, 20, 0, true, read_ip_option) end
  end
  for _, info in ipairs({ destination_header() }) do
    show_options(info, 2, 2, false, read_destination_option)
  end
end

DissectorTable.get("ip.proto"):add(PROTOCOL_OPP, uoa)
register_postdissector(options)
