using System.Globalization;
using Xunit.v3;

namespace BlockMount.Nbd.Tests.Abuse;

/// <summary>The cases of <see cref="AbuseCases"/> that a test plays; also a trait, for <c>-trait abuse=41</c>.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RowAttribute(params int[] rows) : Attribute, ITraitAttribute
{
    public IReadOnlyList<int> Rows { get; } = rows;

    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() =>
        [.. Rows.Select(static row => KeyValuePair.Create("abuse", row.ToString(CultureInfo.InvariantCulture)))];
}
