using Kiln.Oci;

namespace Kiln.Client.Credentials;

/// <summary>A login: a user and password, or an identity token (OAuth2 refresh token) in place of them.</summary>
public sealed record Login(string User, string Password, string? IdentityToken = null)
{
    /// <summary>A token that the registry takes as it is, in place of one from its token server.</summary>
    public string? BearerToken { get; init; }

    public override string ToString() => $"login of {User}";
}

/// <summary>Finds the login for a registry.</summary>
public interface ICredentialSource
{
    /// <summary>The login for <paramref name="repository"/> on <paramref name="host"/>; null where there is none.</summary>
    Login? Find(string host, RepositoryName? repository);
}

/// <summary>Always anonymous.</summary>
public sealed class NoCredentials : ICredentialSource
{
    public static readonly NoCredentials Instance = new();

    private NoCredentials() { }

    public Login? Find(string host, RepositoryName? repository) => null;
}
