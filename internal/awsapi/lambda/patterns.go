package lambda

import (
	"slices"
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// The predicates below stand for patterns with look-arounds, which Go's regexp has not.

// matchAlias is (?!^[0-9]+$)([a-zA-Z0-9-_]+).
func matchAlias(s string) bool { return wire.IsName(s) && !isNumber(s) }

// matchFunctionUrlQualifier is ((?!^\d+$)^[0-9a-zA-Z-_]+$).
func matchFunctionUrlQualifier(s string) bool { return matchAlias(s) }

// matchFunctionUrlFunctionName is FunctionName with a name of at most 64
// characters and a qualifier that is no number.
func matchFunctionUrlFunctionName(s string) bool {
	if wire.IsName(s) {
		return len(s) <= 64
	}
	if !functionURLName.Match(s) {
		return false
	}
	// The look-ahead bites wherever the last part could be a qualifier. When it is
	// a number, the pattern still matches if that part can be the name itself.
	i := strings.LastIndexByte(s, ':')
	return i < 0 || !isNumber(s[i+1:]) || functionURLPrefix.Match(s[:i+1])
}

var (
	functionURLName   = wire.NewPattern("", functionURLPrefixPattern+`([a-zA-Z0-9-_]{1,64})(:([0-9a-zA-Z-_]+))?`)
	functionURLPrefix = wire.NewPattern("", functionURLPrefixPattern)
)

const functionURLPrefixPattern = `(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?`

// matchS3Bucket is [0-9A-Za-z\.\-_]*(?<!\.).
func matchS3Bucket(s string) bool {
	return !strings.HasSuffix(s, ".") && (s == "" || wire.IsName(strings.ReplaceAll(s, ".", "-")))
}

// matchCollectionName is (^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*).
func matchCollectionName(s string) bool {
	return s != "" && (s[0] == '_' || s[0] != '-' && wire.IsName(s[:1])) && !strings.HasPrefix(s, "system.") && !strings.Contains(s, "$")
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// checkCreateRuntime and checkUpdateRuntime refuse runtimes that AWS never had.
// AWS checks them after all constraints, and in other words.
func checkCreateRuntime(in *CreateFunctionRequest) error { return checkRuntime(in.Runtime) }

func checkUpdateRuntime(in *UpdateFunctionConfigurationRequest) error {
	return checkRuntime(in.Runtime)
}

func checkRuntime(runtime *Runtime) error {
	if runtime == nil || slices.Contains(constraintsOfCompatibleRuntimes.Enum, *runtime) {
		return nil
	}
	return InvalidParameterValueException("Value " + *runtime + " at 'runtime' failed to satisfy constraint: " +
		constraintsOfCompatibleRuntimes.Each + " or be a valid ARN")
}
