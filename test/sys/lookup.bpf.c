/* Small programs for libbpf.test.ts: each returns a number from somewhere. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 number;
__u32 counter;

struct numbers {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct numbers);
} current SEC(".maps");

SEC("xdp") int first_number(struct xdp_md *ctx __attribute__((unused)))
{
	return number;
}

SEC("xdp") int count(struct xdp_md *ctx __attribute__((unused)))
{
	return ++counter;
}

/* What the current map has for the number; 0 without one. */
SEC("xdp") int look_up(struct xdp_md *ctx __attribute__((unused)))
{
	__u32 zero = 0, key = number;
	void *map = bpf_map_lookup_elem(&current, &zero);
	__u32 *found = map ? bpf_map_lookup_elem(map, &key) : 0;

	return found ? *found : 0;
}

SEC("xdp") int stamp(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	if ((void *)(data + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*data = 0xab;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
