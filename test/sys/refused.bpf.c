/* A program for libbpf.test.ts that the verifier refuses: it does not look where the packet ends. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int refused(struct xdp_md *ctx)
{
	return *(__u8 *)(long)ctx->data;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
