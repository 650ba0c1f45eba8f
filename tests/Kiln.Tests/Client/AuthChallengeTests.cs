using Kiln.Client.Transport;

namespace Kiln.Tests.Client;

public sealed class AuthChallengeTests
{
    [Fact]
    public void A_bearer_challenge_gives_its_realm_service_and_scope()
    {
        var challenge = AuthChallenge.Best([
            """Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push" """,
        ]);

        Assert.Equal("https://auth.example/token", challenge?["realm"]);
        Assert.Equal("reg", challenge?["service"]);
        Assert.Equal("repository:a/b:pull,push", challenge?["scope"]);
    }

    [Theory]
    [InlineData("""Basic realm="a, b", Bearer realm="https://x/t" """, "Bearer")]
    [InlineData("""Negotiate, Basic realm="quoted \" mark" """, "Basic")]
    [InlineData("basic realm=x", "basic")]
    [InlineData("Negotiate", null)]
    [InlineData("Bearer", null)]
    [InlineData("", null)]
    [InlineData("=,=\"", null)]
    public void The_best_of_several_challenges_is_answered(string header, string? scheme) =>
        Assert.Equal(scheme, AuthChallenge.Best([header])?.Scheme);
}
