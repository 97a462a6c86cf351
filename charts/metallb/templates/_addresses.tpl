{{- /*
Reads addresses as the definitions' rules and the programs do, so that a mistake is told before anything is sent. Every template yields text: an address
is its family and its digits, `4:c0a80001` or `6:` and 32 digits, which order as the addresses do; what is no address is nothing.
*/ -}}

{{- /* An address. Argument: text without blanks. An IPv6 address that stands for an IPv4 address is that. */ -}}
{{- define "metallb.address" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $ipv4 := printf "%s(\\.%s){3}" $octet $octet -}}
{{- if regexMatch (printf "^%s$" $ipv4) . -}}
4:{{ include "metallb.octets" . }}
{{- else if regexMatch (printf "^[0-9a-fA-F:]*:([0-9a-fA-F]{0,4}|%s)$" $ipv4) . -}}
{{- $text := . -}}
{{- if contains "." . -}}
{{- $last := splitList ":" . | last -}}
{{- $digits := include "metallb.octets" $last -}}
{{- $text = printf "%s%s:%s" (trimSuffix $last .) (substr 0 4 $digits) (substr 4 8 $digits) -}}
{{- end -}}
{{- $halves := splitList "::" $text -}}
{{- $left := include "metallb.groups" (first $halves) -}}
{{- $right := "" -}}
{{- if gt (len $halves) 1 -}}{{- $right = include "metallb.groups" (last $halves) -}}{{- end -}}
{{- $digits := "" -}}
{{- if and (not (contains "!" $left)) (not (contains "!" $right)) -}}
{{- $known := add (len $left) (len $right) | int -}}
{{- if and (eq (len $halves) 1) (eq $known 32) -}}
{{- $digits = $left -}}
{{- else if and (eq (len $halves) 2) (lt $known 32) -}}
{{- $digits = printf "%s%s%s" $left (repeat (sub 32 $known | int) "0") $right -}}
{{- end -}}
{{- end -}}
{{- if hasPrefix (printf "%sffff" (repeat 20 "0")) $digits -}}
4:{{ substr 24 32 $digits }}
{{- else if $digits -}}
6:{{ $digits }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The digits of a dotted IPv4 address. */ -}}
{{- define "metallb.octets" -}}
{{- range splitList "." . -}}{{- printf "%02x" (atoi .) -}}{{- end -}}
{{- end -}}

{{- /* The digits of groups between colons; with "!" when one of them is none. */ -}}
{{- define "metallb.groups" -}}
{{- if . -}}
{{- range splitList ":" . -}}
{{- if regexMatch "^[0-9a-fA-F]{1,4}$" . -}}
{{- repeat (sub 4 (len .) | int) "0" -}}{{- lower . -}}
{{- else -}}!{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What is wrong with an entry of a pool, and what to write instead; nothing when it is a prefix or a range. Argument: the entry. */ -}}
{{- define "metallb.rangeProblem" -}}
{{- $text := regexReplaceAll "^[ \\t\\n\\r]+|[ \\t\\n\\r]+$" . "" -}}
{{- if contains "-" $text -}}
{{- $ends := splitn "-" 2 $text -}}
{{- $first := include "metallb.address" (trim $ends._0) -}}
{{- $last := include "metallb.address" (trim $ends._1) -}}
{{- if not $first -}}
{{ . | quote }} is no range: {{ trim $ends._0 | quote }} is not an address; write FIRST-LAST, such as 192.0.2.10-192.0.2.20
{{- else if not $last -}}
{{ . | quote }} is no range: {{ trim $ends._1 | quote }} is not an address; write FIRST-LAST, such as 192.0.2.10-192.0.2.20
{{- else if ne (substr 0 1 $first) (substr 0 1 $last) -}}
{{ . | quote }} is no range: one end is IPv4 and the other IPv6; write two ranges
{{- else if gt $first $last -}}
{{ . | quote }} is no range: the first address comes after the last; write {{ trim $ends._1 }}-{{ trim $ends._0 }}
{{- end -}}
{{- else if contains "/" $text -}}
{{- $parts := splitn "/" 2 $text -}}
{{- $address := include "metallb.address" $parts._0 -}}
{{- $mapped := and (hasPrefix "4:" $address) (contains ":" $parts._0) -}}
{{- if not $address -}}
{{ . | quote }} is no prefix: {{ $parts._0 | quote }} is not an address; write ADDRESS/LENGTH, such as 192.0.2.0/24
{{- else if $mapped -}}
{{ . | quote }} is no prefix: it stands for IPv4 addresses; write it as IPv4
{{- else if not (regexMatch "^(0|[1-9][0-9]{0,2})$" $parts._1) -}}
{{ . | quote }} is no prefix: {{ $parts._1 | quote }} is not a length; write ADDRESS/LENGTH, such as 192.0.2.0/24
{{- else if gt (atoi $parts._1) (ternary 32 128 (hasPrefix "4:" $address)) -}}
{{ . | quote }} is no prefix: its length must be at most {{ ternary 32 128 (hasPrefix "4:" $address) }}
{{- end -}}
{{- else if include "metallb.address" $text -}}
{{ . | quote }} is neither a prefix nor a range; write {{ $text }}/{{ ternary 32 128 (not (contains ":" $text)) }} for that one address
{{- else -}}
{{ . | quote }} is neither a prefix nor a range; write ADDRESS/LENGTH, such as 192.0.2.0/24, or FIRST-LAST, such as 192.0.2.10-192.0.2.20
{{- end -}}
{{- end -}}
