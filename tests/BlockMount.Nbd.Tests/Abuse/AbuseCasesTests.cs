using System.Reflection;

namespace BlockMount.Nbd.Tests.Abuse;

public sealed class AbuseCasesTests
{
    [Fact]
    public void Every_case_is_played_by_a_test_and_no_test_plays_one_that_is_not_listed()
    {
        var played = typeof(AbuseCasesTests).Assembly.GetTypes()
            .SelectMany(static type => type.GetMethods())
            .Where(static method => method.GetCustomAttribute<FactAttribute>() is not null)
            .SelectMany(static method => method.GetCustomAttribute<RowAttribute>()?.Rows ?? [])
            .Distinct()
            .Order();
        Assert.Equal(75, AbuseCases.All.Count);
        Assert.Equal(Enumerable.Range(1, AbuseCases.All.Count), played);
    }
}
