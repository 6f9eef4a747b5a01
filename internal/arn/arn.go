// Package arn takes apart and builds the names of AWS resources: ARNs, and
// the shorter forms that Lambda accepts in their place.
package arn

import (
	"strings"
)

// ARN is an Amazon Resource Name, taken apart.
type ARN struct {
	Partition string // "aws"
	Service   string // "lambda"
	Region    string // or "", for resources of no region
	AccountID string // or ""
	Resource  string // all that follows, colons and slashes included
}

// Parse takes s apart. It reports false if s is not of the form
// arn:partition:service:region:account:resource.
func Parse(s string) (ARN, bool) {
	rest, ok := strings.CutPrefix(s, "arn:")
	if !ok {
		return ARN{}, false
	}
	var parts [4]string
	for i := range parts {
		if parts[i], rest, ok = strings.Cut(rest, ":"); !ok {
			return ARN{}, false
		}
	}
	a := ARN{Partition: parts[0], Service: parts[1], Region: parts[2], AccountID: parts[3], Resource: rest}
	return a, a.Resource != ""
}

func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.AccountID + ":" + a.Resource
}

// PartitionOf returns the partition that region belongs to; "aws" for those it does not know.
func PartitionOf(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"},
		{"us-gov-", "aws-us-gov"},
		{"us-iso-", "aws-iso"},
		{"us-isob-", "aws-iso-b"},
		{"eu-isoe-", "aws-iso-e"},
		{"us-isof-", "aws-iso-f"},
		{"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// IsRegion says whether s has the form of a region's name, such as "eu-central-1" or "us-gov-west-1".
func IsRegion(s string) bool {
	rest, _ := strings.CutPrefix(s, "eusc-")
	if len(rest) < 2 || !lower(rest[0]) || !lower(rest[1]) {
		return false
	}
	rest = rest[2:]
	if r, ok := strings.CutPrefix(rest, "-gov"); ok && isPlace(r) {
		return true
	}
	if r, ok := strings.CutPrefix(rest, "-iso"); ok {
		if r != "" && lower(r[0]) {
			r = r[1:]
		}
		if isPlace(r) {
			return true
		}
	}
	return isPlace(rest)
}

// isPlace says whether s is like "-east-1".
func isPlace(s string) bool {
	rest, ok := strings.CutPrefix(s, "-")
	i := 0
	for i < len(rest) && lower(rest[i]) {
		i++
	}
	return ok && i > 0 && len(rest) == i+2 && rest[i] == '-' && digit(rest[i+1])
}

// IsAccountID says whether s is twelve digits.
func IsAccountID(s string) bool {
	return len(s) == 12 && every(s, digit)
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// word says whether c may be part of a name: a letter, a digit, "-" or "_".
func word(c byte) bool {
	return lower(c) || c >= 'A' && c <= 'Z' || digit(c) || c == '-' || c == '_'
}

func every(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}
