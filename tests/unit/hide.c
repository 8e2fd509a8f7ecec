/*
 * hide: what is a secret in text, and what is not.
 * SPDX-License-Identifier: ISC
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buf.h"
#include "hide.h"
#include "json.h"
#include "tap.h"

#define ROUNDS	20000
#define TEXT	96
#define CPU_S	12

static const struct {
	const char	*text, *want;	/* NULL: as it is */
} cases[] = {
	{ "dfetch 'https://h/x?a=1&X-Amz-Signature=ab&b=2' | dcheck",
	    "dfetch 'https://h/x?[hidden]' | dcheck" },
	{ "dfetch https://h/x?sig=1\\&y=2|dcheck",
	    "dfetch https://h/x?[hidden]|dcheck" },
	{ "dfetch https://u:p@h/x", "dfetch https://[hidden]@h/x" },
	{ "AWS_SECRET_ACCESS_KEY=foo dfetch s3://b/",
	    "AWS_SECRET_ACCESS_KEY=[hidden] dfetch s3://b/" },
	{ "X_TOKEN=\"a b\" y | z", "X_TOKEN=\"[hidden]\" y | z" },
	{ "sh -c \"A_PASSWORD=\\\"s e\\\" b\"",
	    "sh -c \"A_PASSWORD=\\\"[hidden]\\\" b\"" },
	{ "curl -H 'authorization:Bearer abc' h",
	    "curl -H 'authorization:[hidden]' h" },
	{ "curl -H \"X-Api-Key: abc\" h", "curl -H \"X-Api-Key: [hidden]\" h" },
	{ "curl -H \"Authorization: Bearer $TOKEN\" h", NULL },
	{ "A_TOKEN=$T A_KEY=\"$K\" A_SECRET= y", NULL },
	{ "A_PASSWORD='$ecret' x", "A_PASSWORD='[hidden]' x" },
	{ "curl -H 'Authorization: Bearer a$b' h",
	    "curl -H 'Authorization: [hidden]' h" },
	{ "curl -H 'X-Api-Key: $b' h", "curl -H 'X-Api-Key: [hidden]' h" },
	{ "curl -H \"Authorization: Bearer a$b\" h",
	    "curl -H \"Authorization: [hidden]\" h" },
	{ "curl -H \"Authorization: a$b\" h",
	    "curl -H \"Authorization: [hidden]\" h" },
	{ "sh -c 'curl -H \"Authorization: Bearer $T\" h'", NULL },
	{ "curl -H \"Api-Key:$(cat key)\" 'h' -H Auth-Token:$T", NULL },
	{ "sh -c \"curl -H \\\"Authorization: Basic \\$T\\\" h\"", NULL },
	{ "dfetch https://$USER:pw@h/x", "dfetch https://[hidden]@h/x" },
	{ "dfetch https://$U:$P@h/x https://$U@h/ https://${U}:@h/", NULL },
	{ "dfetch https://h/x?to=a?b?sig=1&y=2 z",
	    "dfetch https://h/x?[hidden] z" },
	{ "dfetch https://h/x?to=a?A_KEY=b", "dfetch https://h/x?to=a?A_KEY="
	    "[hidden]" },
	{ "dfetch https://h/x?v=2&sigma=1 a@b s3://b/x", NULL },
	{ "jq 'select(.key==\"x\")' | sort -k 1 --key=2 | ls ?x", NULL },
	{ "", NULL }
};

/* Any text, in JSON, is JSON afterwards. */
static int
is_json(unsigned int seed)
{
	static const char	*const parts[] = { "https://", "u:p@", "h/",
		"?", "sig=", "&", "A_KEY=", "\"", "\\", "'", "\n", " ",
		"Authorization:", "x", "|", "$", "[hidden]" };
	struct json_val		 v;
	struct json		 j;
	struct buf		 b;
	enum json_type		 t;
	char			 text[TEXT * 16], *s;
	size_t			 n = 0, k;
	unsigned int		 i, r = seed;
	int			 keys = 0;

	for (i = 0; i < TEXT / 4; i++) {
		r = r * 1103515245 + 12345;
		k = (r >> 16) % (sizeof(parts) / sizeof(parts[0]));
		memcpy(text + n, parts[k], strlen(parts[k]));
		n += strlen(parts[k]);
	}
	text[n] = '\0';
	buf_init(&b, 65536);
	buf_addc(&b, '{');
	json_put_kstr(&b, "c", text);
	json_put_kint(&b, "n", 1);
	buf_addc(&b, '}');
	s = hide_json(buf_cstr(&b));
	json_init(&j, s, strlen(s));
	while ((t = json_next(&j, &v)) != JSON_EOF && t != JSON_BAD)
		keys += t == JSON_STR || t == JSON_INT;
	if (t != JSON_EOF || keys != 2)
		printf("# %s\n# %s\n", buf_cstr(&b), s);
	json_clear(&j);
	buf_free(&b);
	free(s);
	return t == JSON_EOF && keys == 2;
}

/* No text of 128 KiB, all of one kind, is read again and again. */
static int
is_quick(void)
{
	static const char	*const parts[] = { "?", "?a&", "?a?sig",
		"A_KEY=$", "A_KEY='$", "Authorization:", "Authorization: a $",
		"x://", "x://@", "a@", "\\", "\\\"", "'", "://$" };
	size_t			 i, k, n = (size_t)128 << 10;
	char			*text = malloc(n + 1);

	if (text == NULL)
		return 0;
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (k = 0; k < n; k++)
			text[k] = parts[i][k % strlen(parts[i])];
		text[n] = '\0';
		free(hide_text(text));
		if (clock() > (clock_t)CPU_S * CLOCKS_PER_SEC) {
			printf("# %s\n", parts[i]);
			break;
		}
	}
	free(text);
	return i == sizeof(parts) / sizeof(parts[0]);
}

int
main(void)
{
	unsigned int	i;
	size_t		n = sizeof(cases) / sizeof(cases[0]), k;
	const char	*want;
	char		*got;

	tap_plan((int)n + 5);
	for (k = 0; k < n; k++) {
		want = cases[k].want != NULL ? cases[k].want : cases[k].text;
		got = hide_text(cases[k].text);
		tap_is(got, want, cases[k].text);
		free(got);
	}
	tap_ok(hide_is_in("x?[hidden]") && !hide_is_in("hidden"),
	    "it is known that something was");
	got = hide_json("{\"c\": [\"f \\\"https://h/?token=s\\\"\\n\", 1.0]}");
	tap_is(got, "{\"c\": [\"f \\\"https://h/?[hidden]\\\"\\u000a\", 1.0]}",
	    "strings in JSON");
	free(got);
	got = hide_json("{\"c\": token");
	tap_is(got, "\"[hidden]\"", "what is none");
	free(got);
	for (i = 0; i < ROUNDS && is_json(i); i++)
		continue;
	tap_ok(i == ROUNDS, "JSON stays JSON, of %d texts", ROUNDS);
	tap_ok(is_quick(), "a long text takes no long time");
	return tap_done();
}
