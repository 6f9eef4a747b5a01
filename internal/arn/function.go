package arn

import (
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi"
)

// Latest is the qualifier of a function's unpublished version.
const Latest = "$LATEST"

// Function names a function, and perhaps one of its versions or aliases.
type Function struct {
	Partition string
	Region    string
	AccountID string
	Name      string
	Qualifier string // "$LATEST", "$LATEST.PUBLISHED", a version's number, an alias, or "" if the client gave none
}

// ARN returns the function's ARN, with the qualifier if there is one.
func (f Function) ARN() string {
	if f.Qualifier == "" {
		return f.Unqualified()
	}
	return f.Unqualified() + ":" + f.Qualifier
}

// Unqualified returns the function's ARN without a qualifier.
func (f Function) Unqualified() string {
	return "arn:" + f.Partition + ":lambda:" + f.Region + ":" + f.AccountID + ":function:" + f.Name
}

// WithQualifier returns f with another qualifier.
func (f Function) WithQualifier(q string) Function {
	f.Qualifier = q
	return f
}

// IsVersion says whether the qualifier is a published version's number.
func (f Function) IsVersion() bool { return IsVersion(f.Qualifier) }

// IsAlias says whether the qualifier can only be an alias.
func (f Function) IsAlias() bool {
	return f.Qualifier != "" && f.Qualifier[0] != '$' && !f.IsVersion()
}

// IsVersion says whether q is a published version's number.
func IsVersion(q string) bool { return q != "" && every(q, digit) }

// The pattern of FunctionName, as AWS words it in errors about it.
const functionPattern = `(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?`

// ParseFunction reads name, in any form that Lambda takes: a name, a partial
// ARN such as "123456789012:function:name" or "function:name", or a full ARN, each with or
// without a qualifier. What name leaves out comes from req. qualifier is the
// one given beside the name, or "".
//
// The function may belong to another account than req's: who is allowed what
// is for the caller to say (see Denied). Errors are *awsapi.Error.
func ParseFunction(name, qualifier string, req *awsapi.Request) (Function, error) {
	f, ok := SplitFunction(name)
	if !ok {
		return Function{}, &awsapi.Error{Code: "ValidationException", Status: 400, Message: "1 validation error detected: Value '" + name +
			"' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: " + functionPattern}
	}
	if len(f.Name) > 64 {
		return Function{}, invalid("1 validation error detected: Value '" + f.Name +
			"' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64")
	}
	if f.Region != "" && f.Region != req.Region {
		return Function{}, &awsapi.Error{Code: "ResourceNotFoundException", Status: 404, Fault: "User",
			Message: "Functions from '" + f.Region + "' are not reachable in this region ('" + req.Region + "')"}
	}
	if f.Partition != "" && f.Partition != req.Partition {
		return Function{}, &awsapi.Error{Code: "ResourceNotFoundException", Status: 404, Fault: "User", Message: "Function not found: " + name}
	}
	if f.Qualifier != "" && qualifier != "" && f.Qualifier != qualifier {
		return Function{}, invalid("The derived qualifier from the function name does not match the specified qualifier.")
	}
	if qualifier != "" {
		f.Qualifier = qualifier
	}
	f.Partition, f.Region = req.Partition, req.Region
	if f.AccountID == "" {
		f.AccountID = req.AccountID
	}
	return f, nil
}

// SplitFunction reads name as ParseFunction does, but fills in and checks
// nothing: what name leaves out is "". It reports false if name has none of the forms.
func SplitFunction(name string) (f Function, ok bool) {
	rest := name
	if r, ok := strings.CutPrefix(rest, "arn:"); ok {
		if partition, r, ok := strings.Cut(r, ":"); ok {
			if r, ok := strings.CutPrefix(r, "lambda:"); ok && isPartition(partition) {
				f.Partition, rest = partition, r
			}
		}
	}
	// Each part is taken where it is there and a name can follow it: that is
	// how AWS's pattern, with its optional groups, comes to match.
	take := func(is func(string) bool) string {
		if part, r, ok := strings.Cut(rest, ":"); ok && r != "" && r[0] != '$' && is(part) {
			rest = r
			return part
		}
		return ""
	}
	f.Region = take(IsRegion)
	f.AccountID = take(IsAccountID)
	take(func(s string) bool { return s == "function" })
	var qualified bool
	f.Name, f.Qualifier, qualified = strings.Cut(rest, ":")
	if f.Name == "" || !every(f.Name, func(c byte) bool { return word(c) || c == '.' }) {
		return Function{}, false
	}
	if qualified && (f.Qualifier == "" || !isQualifier(f.Qualifier)) {
		return Function{}, false
	}
	return f, true
}

// isPartition says whether s is a partition's name, or "", which AWS's pattern takes too.
func isPartition(s string) bool {
	rest, ok := strings.CutPrefix(s, "aws")
	return s == "" || ok && every(rest, func(c byte) bool { return word(c) && !digit(c) && c != '_' })
}

func isQualifier(s string) bool {
	return s == Latest || s == Latest+".PUBLISHED" || every(s, word)
}

// Denied is AWS's answer to a caller whom neither its own policies nor the
// resource's allow action, such as "lambda:GetFunction".
func Denied(req *awsapi.Request, action, resource string) *awsapi.Error {
	return &awsapi.Error{Code: "AccessDeniedException", Status: 403, Message: "User: arn:" + req.Partition + ":iam::" + req.AccountID +
		":root is not authorized to perform: " + action + " on resource: " + resource +
		" because no resource-based policy allows the " + action + " action"}
}

func invalid(message string) *awsapi.Error {
	return &awsapi.Error{Code: "InvalidParameterValueException", Status: 400, Fault: "User", Message: message}
}
